"""The embedded survey: stars of all 52 classes as a ZTF-like telescope would see them, seeded, without a private server.

The way of a star: `populations` deals its kind, `census` says what that kind is, `stars` draws it, a shape (`pulsators`,
`binaries`, `stochastic`, `artefacts`) makes it vary at the visits of `cadence`, `photometry` measures it, `catalogs` and
`alerts` add what other archives know, `truth` labels it as astronomers would, `survey` puts the tables together.
May import core and errors only; the stage `simulate` writes the files.
"""
