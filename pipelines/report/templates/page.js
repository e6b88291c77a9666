// Filters: every form with data-filters shows or hides the [data-item]s of the list of that name.
"use strict";
for (const form of document.querySelectorAll("[data-filters]")) {
  const list = document.querySelector(`[data-items="${form.dataset.filters}"]`);
  const items = [...list.querySelectorAll("[data-item]")].map((node) => ({ node, text: node.textContent.toLowerCase() }));
  const groups = [...list.querySelectorAll("[data-group]")];
  const selects = [...form.querySelectorAll("select")];
  const search = form.querySelector("input");
  const output = form.querySelector("output");

  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((select) => select.value);
    let shown = 0;
    for (const { node, text } of items) {
      node.hidden = !(
        wanted.every((select) => node.dataset[select.dataset.key] === select.value) && words.every((word) => text.includes(word))
      );
      shown += !node.hidden;
    }
    const filtered = wanted.length || words.length;
    for (const group of groups) group.hidden = filtered && !group.querySelector("[data-item]:not([hidden])");
    output.textContent = filtered ? `${shown} of ${items.length} shown` : "";
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  // A link to what a filter hides takes the filter away.
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.hidden && list.contains(target)) {
      form.reset();
      apply();
      target.scrollIntoView();
    }
  });
}
