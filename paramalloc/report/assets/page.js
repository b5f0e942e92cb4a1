// Tables sort by the column whose head is clicked; a second click turns the order round. Dashes stay last.
"use strict";
function sortKey(text) {
  const plain = text.replace(/,/g, "").trim();
  const clock = plain.match(/^(\d+):(\d\d):(\d\d)$/);
  if (clock) return 3600 * clock[1] + 60 * clock[2] + 1 * clock[3];
  const number = plain.match(/^[$<>\u223C]*\s*([+\-\u2212]?\d+(?:\.\d+)?)\s*([kM](?![a-z])|million)?/);
  if (!number) return null;
  const scale = { k: 1e3, M: 1e6, million: 1e6 }[number[2]] || 1;
  return parseFloat(number[1].replace("\u2212", "-")) * scale;
}
function sortBy(table, column, direction) {
  const body = table.tBodies[0], rows = [...body.rows];
  const text = (row) => row.cells[column].textContent.trim();
  const known = (row) => !["", "\u2013", "-"].includes(text(row));
  const numeric = rows.filter(known).every((row) => sortKey(text(row)) !== null);
  rows.sort((a, b) => {
    if (!known(a) || !known(b)) return known(b) - known(a);
    return direction * (numeric ? sortKey(text(a)) - sortKey(text(b)) : text(a).localeCompare(text(b)));
  });
  body.append(...rows);
}
for (const table of document.querySelectorAll("main table")) {
  if (table.tBodies.length === 0 || table.tBodies[0].rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const turn = () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, column, ascending ? 1 : -1);
    };
    head.classList.add("sortable");
    head.tabIndex = 0;
    head.addEventListener("click", turn);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); turn(); }
    });
  });
}
