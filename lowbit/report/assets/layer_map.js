// SPDX-License-Identifier: Apache-2.0
// The map of linears by layers: what rounding a linear's weights, or its inputs, does to its output. Called by page.js,
// which has the data.
"use strict";

const layerMap = (() => {
  const byId = (id) => document.getElementById(id);
  const state = { recipe: undefined, part: undefined };
  let rows = [];

  // Errors are squared ratios: below a ten-thousandth nothing is to be seen, at 1 the output is lost.
  const kPale = 1e-4;
  const kInputs = " inputs";
  const kOrder = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
  const kWorst = 5;

  const hasInputs = (row) => Object.keys(row.layerParts).some((part) => part.endsWith(kInputs));

  function rank(linear) {
    const at = kOrder.findIndex((name) => linear.endsWith(name));
    return at < 0 ? kOrder.length : at;
  }

  // The linears of a row's map, in the order in which a layer runs them: [name, errors by layer].
  function linesOf(row) {
    const wanted = Object.entries(row.layerParts)
      .filter(([part]) => part !== "layer" && part.endsWith(kInputs) === (state.part === "inputs"))
      .map(([part, errors]) => [state.part === "inputs" ? part.slice(0, -kInputs.length) : part, errors]);
    return wanted.sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b, "en"));
  }

  const digits = (value) => (value === 0 ? "0" : value >= 1e-4 && value < 1e5 ? String(value) : value.toExponential());

  // "|x| up to 1234, peak 38" of what a linear reads, where that was kept.
  function rangeText(row, linear, layer) {
    const range = state.part === "inputs" ? row.layerInputs?.[linear]?.[layer] : undefined;
    return range ? `|x| up to ${digits(range[0])}, peak ${digits(range[1])}` : "";
  }

  const shade = (error) => Math.min(1, Math.max(0, 1 - Math.log10(Math.max(error, kPale)) / Math.log10(kPale)));

  function cell(row, linear, layer, error) {
    const td = document.createElement("td");
    if (error === null || error === undefined) return td;
    td.style.backgroundColor = `color-mix(in srgb, var(--warn) ${Math.round(100 * shade(error))}%, var(--card))`;
    td.title = [`layer ${layer}, ${linear}: ${digits(error)}`, rangeText(row, linear, layer)].filter(Boolean).join("; ");
    const text = document.createElement("span");
    text.className = "unseen";
    text.textContent = digits(error);
    td.append(text);
    return td;
  }

  function heading(text, scope) {
    const th = document.createElement("th");
    th.scope = scope;
    th.textContent = text;
    return th;
  }

  function drawTable(row, lines) {
    const layers = Math.max(...lines.map(([, errors]) => errors.length));
    const every = layers > 12 ? 5 : 1;  // what there is room for
    const head = document.createElement("tr");
    head.append(heading("layer", "col"));
    for (let layer = 0; layer < layers; ++layer) {
      const th = heading("", "col");
      const text = document.createElement("span");
      text.textContent = layer;
      if (layer % every !== 0) text.className = "unseen";
      th.append(text);
      head.append(th);
    }
    const body = lines.map(([linear, errors]) => {
      const tr = document.createElement("tr");
      const cells = Array.from({ length: layers }, (_, layer) => cell(row, linear, layer, errors[layer]));
      tr.append(heading(linear, "row"), ...cells);
      return tr;
    });
    byId("layer-map-head").replaceChildren(head);
    byId("layer-map-body").replaceChildren(...body);
  }

  function drawWorst(row, lines) {
    const all = lines.flatMap(([linear, errors]) => errors.map((error, layer) => ({ linear, layer, error })));
    const worst = all.filter((c) => c.error > 0).sort((a, b) => b.error - a.error).slice(0, kWorst);
    byId("layer-map-worst").replaceChildren(...worst.map(({ linear, layer, error }) => {
      const li = document.createElement("li");
      const range = rangeText(row, linear, layer);
      li.textContent = `layer ${layer}, ${linear}: ${digits(error)}${range ? `; ${range}` : ""}`;
      return li;
    }));
  }

  function draw() {
    const row = rows.find((r) => r.recipe === state.recipe);
    if (state.part === "inputs" && !hasInputs(row)) state.part = "weights";
    for (const button of document.querySelectorAll("[data-part]")) {
      button.setAttribute("aria-pressed", String(button.dataset.part === state.part));
      button.disabled = button.dataset.part === "inputs" && !hasInputs(row);
    }
    const lines = linesOf(row);
    byId("layer-map-note").textContent =
      `squared change of a linear's output when only its ${state.part} are rounded, relative to that output; on ` +
      "held-out text, with what full precision gives the layer; one scale for all recipes";
    byId("layer-map-peak").hidden = state.part !== "inputs" || !row.layerInputs;
    drawTable(row, lines);
    drawWorst(row, lines);
  }

  // The recipe whose inputs suffer most: what a reader is to be shown first.
  function telling(measured) {
    const sum = (row) => Object.entries(row.layerParts).filter(([part]) => part.endsWith(kInputs))
      .flatMap(([, errors]) => errors).reduce((total, error) => total + (error ?? 0), 0);
    return measured.reduce((best, row) => (sum(row) > sum(best) ? row : best));
  }

  function choose(model) {
    rows = model.rows.filter((row) => row.layerParts);
    byId("layer-map").hidden = rows.length === 0;
    if (rows.length === 0) return;
    const first = telling(rows);
    state.recipe = first.recipe;
    state.part = hasInputs(first) ? "inputs" : "weights";
    byId("layer-map-recipe").replaceChildren(...rows.map((row) =>
      new Option(row.recipe, row.recipe, false, row === first)));
    draw();
  }

  byId("layer-map-recipe").addEventListener("change", (event) => {
    state.recipe = event.target.value;
    draw();
  });
  for (const button of document.querySelectorAll("[data-part]")) {
    button.addEventListener("click", () => {
      state.part = button.dataset.part;
      draw();
    });
  }
  return { choose };
})();
