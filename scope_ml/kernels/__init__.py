"""Numerics on light curves: a method is a folder with its definition (`reference`) and fast forms (`cpu`, `gpu`).

`registry` names all of them; nothing here is imported until `registry.load` is called. May import `core` and `errors`.
"""
