"use strict";
// Each heading becomes a button that sorts by its column: numbers from the highest, words from A; then the other way.
const table = document.getElementById("errors");
if (table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { sensitivity: "base" });
  const compare = (numeric, column) => (a, b) => {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
    return numeric ? x - y : collator.compare(x, y);
  };
  heads.forEach((head, column) => {
    const numeric = head.dataset.sort === "number";
    const name = head.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const order = now ? (now === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const by = compare(numeric, column);
      body.append(...[...body.rows].sort((a, b) => sign * by(a, b)));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      document.getElementById("sorted").textContent = `Sorted by ${name}, ${order}.`;
    });
  });
}
