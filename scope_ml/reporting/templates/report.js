// Sorting and filtering of the summary table. Every class is one <tbody>; its sort keys stand in data- attributes.
(() => {
  const table = document.querySelector("table.summary");
  if (!table) return;
  const bodies = () => [...table.tBodies];
  const key = (body, name) => {
    const text = body.dataset[name] ?? "";
    return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
  };
  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const name = head.dataset.sort;
      const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && name === "tag");
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const sorted = bodies().sort((a, b) => {
        const x = key(a, name), y = key(b, name);
        if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1;
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      table.append(...sorted);
    });
  }
  const tools = document.querySelector(".tools");
  if (!tools) return;
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Find a class";
  input.setAttribute("aria-label", "Find a class");
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const body of bodies()) body.hidden = !`${body.dataset.tag} ${body.dataset.label}`.toLowerCase().includes(wanted);
    for (const card of document.querySelectorAll("article[data-tag]"))
      card.hidden = !`${card.dataset.tag} ${card.dataset.label}`.toLowerCase().includes(wanted);
  });
  tools.prepend(input);
})();
