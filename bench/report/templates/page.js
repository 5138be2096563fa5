"use strict";
(() => {
  const every = (selector, within = document) => [...within.querySelectorAll(selector)];
  const form = document.querySelector(".bar");
  const FILTERS = ["suite", "family", "sam"];

  // The view is what stands behind the #, as in #suite=digits-c&family=vit&sort=-noise; a minus turns the order round.
  const view = () => new URLSearchParams(location.hash.slice(1));

  function go(changes) {
    const next = view();
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    history.replaceState(null, "", next.size ? `#${next}` : location.pathname + location.search);
    show();
  }

  function show() {
    const wanted = view();
    for (const name of FILTERS) {
      const select = form.elements[name];
      select.value = wanted.get(name) ?? "";
      if (select.selectedIndex < 0) select.value = ""; // a link to what is not here shows everything
    }
    for (const element of every("[data-suite], [data-family], [data-sam]")) {
      const out = FILTERS.some((name) => {
        const value = form.elements[name].value;
        return value && element.dataset[name] && element.dataset[name] !== value;
      });
      element.toggleAttribute("hidden", out); // what is drawn has the attribute, but no property of that name
    }
    for (const block of every(".block")) block.hidden = !block.querySelector("[data-suite]:not([hidden])");
    every(".board").forEach((table) => sort(table, wanted.get("sort") ?? ""));
    const shown = (selector) => every(selector).filter((element) => !element.closest("[hidden]")).length;
    const rows = ".suite .board > tbody", suites = ".suite";
    document.getElementById("shown").textContent =
      `${shown(rows)} of ${every(rows).length} rows in ${shown(suites)} of ${every(suites).length} suites`;
  }

  // -- sorting: the best first; what has no number stays at the end ------------------------------------------

  function sort(table, by) {
    const turned = by.startsWith("-");
    const column = turned ? by.slice(1) : by;
    const headings = every("thead th", table);
    const index = column ? headings.findIndex((heading) => heading.dataset.sort === column) : -1;
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    const bodies = [...table.tBodies];
    bodies.forEach((body, place) => (body.dataset.place ??= place));
    const before = (a, b) => a.dataset.place - b.dataset.place;
    if (index < 0) {
      table.append(...bodies.sort(before));
      return;
    }
    const text = headings[index].dataset.best === "text";
    const falling = (headings[index].dataset.best === "high") !== turned;
    headings[index].setAttribute("aria-sort", falling ? "descending" : "ascending");
    const values = new Map(bodies.map((body) => [body, value(body.rows[0].cells[index], text)]));
    table.append(...bodies.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === null || y === null) return (x === null) - (y === null) || before(a, b);
      const order = text ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return (falling ? -order : order) || before(a, b);
    }));
  }

  function value(cell, text) {
    const said = cell.dataset.v ?? cell.textContent.trim();
    if (text) return said;
    const number = parseFloat(said.replace(/[,<]/g, ""));
    return Number.isNaN(number) ? null : number;
  }

  // -- what is pressed -----------------------------------------------------------------------------------------

  form.addEventListener("change", (event) => go({ [event.target.name]: event.target.value }));
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    go({ suite: "", family: "", sam: "", sort: "" });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".board button");
    if (!button) return;
    if (button.classList.contains("open")) {
      const more = button.closest("tr").nextElementSibling;
      more.hidden = !more.hidden;
      button.setAttribute("aria-expanded", String(!more.hidden));
      return;
    }
    const column = button.closest("th").dataset.sort;
    go({ sort: view().get("sort") === column ? `-${column}` : column });
  });
  window.addEventListener("hashchange", show);

  const root = document.documentElement;
  const kept = { // a file opened from a disk may not be allowed to keep anything
    get: () => { try { return localStorage.getItem("rtbench-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("rtbench-theme", value); } catch { /* for this view alone */ } },
  };
  if (["light", "dark"].includes(kept.get())) root.dataset.theme = kept.get();
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    kept.set(root.dataset.theme);
  });

  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  for (const image of every("img[data-picture]")) image.src = pictures[image.dataset.picture];

  show();
})();
