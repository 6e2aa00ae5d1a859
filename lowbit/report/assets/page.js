// SPDX-License-Identifier: Apache-2.0
// What the page does beyond showing its tables: charts, theme, sorting, downloads. All numbers come from the
// JSON in #study; nothing is requested.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const study = JSON.parse(byId("study").textContent);
  const state = { model: 0, column: 0, scale: "auto", layersBits: undefined, hidden: new Set() };
  const charts = [];

  // ---- Theme ----------------------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  let dark = system.matches;

  function setDark(on) {
    dark = on;
    byId("dark").media = dark ? "screen" : "not all";
    byId("theme").textContent = dark ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", `Switch to the ${dark ? "light" : "dark"} theme`);
  }

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- What is drawn --------------------------------------------------------------------------------

  const kShapes = ["circle", "triangle", "rect", "rectRot", "star", "crossRot", "rectRounded", "cross"];
  const kDashes = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
  // A range wider than this factor is unreadable on a linear axis.
  const kLogRange = 4;
  // The close-up shows what lies within this fraction of full precision.
  const kCloseUp = 0.5;

  // Lines keep colour, shape and dash wherever they appear: by their order in the model.
  function seriesOf(model) {
    const names = [...new Set(model.rows.filter((row) => !row.full).map((row) => row.series))];
    return names.map((name, i) => ({
      name,
      color: color(`--series-${(i % 8) + 1}`),
      shape: kShapes[i % 8],
      dash: kDashes[Math.floor(i / 8) % kDashes.length],
    }));
  }

  // Points {x, y, low, high} of the rows of one line; rows without number or storage have no place.
  function pointsOf(model, series, toPoint, column = state.column) {
    return model.rows
      .filter((row) => row.series === series.name && row.bytes && row.cells[column]?.text)
      .map((row) => ({ ...toPoint(row, row.cells[column]), row, cell: row.cells[column], column }))
      .sort((a, b) => a.x - b.x);
  }

  const fullRow = (model) => model.rows.find((row) => row.full && row.cells[state.column]?.text);

  // ---- Axes -----------------------------------------------------------------------------------------

  // At least four round values inside [low, high] of a logarithmic axis, where there are such.
  function logTicks(low, high) {
    const sets = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]];
    let ticks = [];
    for (const mantissas of sets) {
      ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); ++power) {
        ticks.push(...mantissas.map((m) => m * 10 ** power).filter((v) => v >= low && v <= high));
      }
      if (ticks.length >= 4) return ticks;
    }
    const fine = [];
    const step = (high - low) / 4;
    for (let i = 0; i <= 4; ++i) fine.push(low + i * step);
    return fine;
  }

  function tickText(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e4 || size < 1e-4) {
      const power = Math.floor(Math.log10(size) + 1e-9);
      const mantissa = Number((value / 10 ** power).toPrecision(3));
      const digits = String(power).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
      return mantissa === 1 ? `10${digits}` : `${mantissa}×10${digits}`;
    }
    return String(Number(value.toPrecision(4)));
  }

  // A step of 1, 2 or 5 times a power of ten that divides `range` into about five.
  function roundStep(range) {
    const power = 10 ** Math.floor(Math.log10(range / 5));
    return [1, 2, 5, 10].map((m) => m * power).find((step) => range / step <= 6.5);
  }

  // Limits around the values: some air on a logarithmic axis, round numbers on a linear one.
  function limits(values, type) {
    const low = Math.min(...values);
    const high = Math.max(...values);
    if (type === "logarithmic") {
      const air = Math.max((high / low) ** 0.07, 1.01);
      return { min: low / air, max: high * air };
    }
    const air = (high - low) * 0.04 || Math.abs(high) * 0.05 || 1;
    const step = roundStep(high - low + 2 * air);
    return { min: Math.floor((low - air) / step) * step, max: Math.ceil((high + air) / step) * step, step };
  }

  // How an axis shows `values` under the chosen scale: its type, and the values that it makes room for.
  function resolveScale(values, reference) {
    const positive = values.length > 0 && Math.min(...values) > 0;
    const near = values.filter((v) => Math.abs(v - reference) <= kCloseUp * Math.abs(reference));
    const possible = { linear: true, logarithmic: positive, close: near.length > 1 && near.length < values.length };
    let scale = state.scale;
    if (scale === "auto") scale = Math.max(...values) > kLogRange * Math.min(...values) ? "logarithmic" : "linear";
    if (!possible[scale]) scale = "linear";
    return {
      scale,
      possible,
      type: scale === "logarithmic" ? "logarithmic" : "linear",
      values: scale === "close" ? near : values,
    };
  }

  function axis(title, { min, max, step }, type, format) {
    return {
      type,
      min,
      max,
      title: { display: true, text: title, color: color("--soft"), font: { size: 12 } },
      grid: { color: color("--rule"), borderColor: color("--rule-strong"), tickLength: 4 },
      ticks: { color: color("--soft"), font: { size: 12 }, callback: format, maxRotation: 0, autoSkipPadding: 14, stepSize: step, includeBounds: step !== undefined },
      afterBuildTicks(scale) {
        if (type === "logarithmic") scale.ticks = logTicks(scale.min, scale.max).map((value) => ({ value }));
        // Sums of steps miss zero by their rounding.
        else for (const tick of scale.ticks) if (Math.abs(tick.value) < 1e-9 * (scale.max - scale.min)) tick.value = 0;
      },
    };
  }

  // ---- Plugins --------------------------------------------------------------------------------------

  // One standard error up and down.
  const errorBars = {
    id: "errorBars",
    beforeDatasetsDraw(chart) {
      const { ctx, scales } = chart;
      chart.data.datasets.forEach((dataset, i) => {
        if (!chart.isDatasetVisible(i)) return;
        const { left, top, width, height } = chart.chartArea;
        ctx.save();
        ctx.beginPath();
        ctx.rect(left - 4, top, width + 8, height);
        ctx.clip();
        ctx.strokeStyle = dataset.borderColor;
        ctx.lineWidth = 1;
        ctx.beginPath();
        for (const point of dataset.data) {
          if (point.low === undefined || (scales.y.type === "logarithmic" && point.low <= 0)) continue;
          const x = scales.x.getPixelForValue(point.x);
          for (const y of [point.low, point.high].map((value) => scales.y.getPixelForValue(value))) {
            ctx.moveTo(x, scales.y.getPixelForValue(point.y));
            ctx.lineTo(x, y);
            ctx.moveTo(x - 3, y);
            ctx.lineTo(x + 3, y);
          }
        }
        ctx.stroke();
        ctx.restore();
      });
    },
  };

  // How many points of the lines drawn, sampled along them too, lie in a box of the canvas.
  function crowding(chart, left, top, width, height) {
    let inside = 0;
    for (const meta of chart.getSortedVisibleDatasetMetas()) {
      meta.data.forEach((point, i) => {
        const next = meta.data[i + 1] ?? point;
        for (let step = 0; step < 20; ++step) {
          const x = point.x + ((next.x - point.x) * step) / 20;
          const y = point.y + ((next.y - point.y) * step) / 20;
          if (x > left - 8 && x < left + width + 8 && y > top - 3 && y < top + height + 3) ++inside;
        }
      });
    }
    return inside;
  }

  // Full precision: a dashed line across, and its label in the emptiest place along it.
  const baseline = {
    id: "baseline",
    beforeDatasetsDraw(chart, _, { value }) {
      if (value === undefined) return;
      const { ctx, chartArea: area, scales } = chart;
      const y = scales.y.getPixelForValue(value);
      ctx.save();
      ctx.strokeStyle = color("--soft");
      ctx.lineWidth = 1.25;
      ctx.setLineDash([6, 4]);
      ctx.beginPath();
      ctx.moveTo(area.left, y);
      ctx.lineTo(area.right, y);
      ctx.stroke();
      ctx.restore();
    },
    afterDatasetsDraw(chart, _, { value, label }) {
      if (value === undefined) return;
      const { ctx, chartArea: area, scales } = chart;
      ctx.save();
      ctx.font = `12px ${Chart.defaults.font.family}`;
      ctx.textBaseline = "top";
      const width = ctx.measureText(label).width;
      const height = 13;
      const line = scales.y.getPixelForValue(value);
      const places = [];
      for (const top of [line - height - 8, line + 9]) {  // clear of points on the line itself
        for (const x of [area.left + 8, area.right - width - 8, (area.left + area.right - width) / 2]) {
          const outside = top < area.top || top + height > area.bottom ? 1000 : 0;
          places.push({ x, top, cost: outside + crowding(chart, x, top, width, height) });
        }
      }
      const { x, top } = places.reduce((best, place) => (place.cost < best.cost ? place : best));
      ctx.lineWidth = 4;
      ctx.lineJoin = "round";
      ctx.strokeStyle = color("--card");
      ctx.strokeText(label, x, top);
      ctx.fillStyle = color("--soft");
      ctx.fillText(label, x, top);
      ctx.restore();
    },
  };

  // ---- Charts ---------------------------------------------------------------------------------------

  function tooltipLines(point) {
    if (point.lines) return point.lines;
    const { row, cell } = point;
    const column = study.models[state.model].columns[point.column];
    const error = cell.stderrText ? ` ± ${cell.stderrText}` : "";
    const change = cell.relativeText ? ` (${cell.relativeText})` : "";
    return [
      `${column.label} ${cell.text}${error}${change}`,
      `${Number(row.bpw.toFixed(3))} bits per weight`,
      row.sizeText,
    ];
  }

  function draw({ canvas, label, x, y, datasets, baselineAt }) {
    const line = (dataset) => ({
      label: dataset.name,
      data: dataset.points,
      hidden: state.hidden.has(dataset.name),
      borderColor: dataset.color,
      backgroundColor: dataset.color,
      borderWidth: 2,
      borderDash: dataset.dash,
      showLine: dataset.showLine ?? true,
      pointStyle: dataset.shape,
      pointRadius: 5,
      pointHoverRadius: 7,
      pointHitRadius: 12,
      clip: dataset.clip,
      pointBorderWidth: ["star", "cross", "crossRot"].includes(dataset.shape) ? 2 : 1,
      tension: 0,
    });
    byId(canvas).setAttribute("aria-label", label);
    charts.push(new Chart(byId(canvas), {
      type: "line",
      data: { datasets: datasets.filter((dataset) => dataset.points.length).map(line) },
      plugins: [errorBars, baseline],
      options: {
        animation: false,
        maintainAspectRatio: false,
        parsing: false,
        normalized: true,
        interaction: { mode: "nearest", intersect: true },
        scales: { x, y },
        plugins: {
          legend: { display: false },
          baseline: baselineAt,
          tooltip: {
            displayColors: false,
            padding: 10,
            backgroundColor: color("--ink"),
            titleColor: color("--page"),
            bodyColor: color("--page"),
            callbacks: {
              title: (items) => items[0]?.raw.row.recipe ?? "",
              label: (item) => tooltipLines(item.raw),
            },
          },
        },
      },
    }));
  }

  function withError(point, cell, factor) {
    if (cell.stderr === undefined) return point;
    return { ...point, low: point.y - cell.stderr * factor, high: point.y + cell.stderr * factor };
  }

  // The horizontal places of the points that the vertical axis has room for.
  function widths(datasets, inView) {
    const high = Math.max(...inView);
    const low = Math.min(...inView);
    return datasets.flatMap((d) => d.points.filter((p) => p.y >= low && p.y <= high).map((p) => p.x));
  }

  // The same values, and the ends of the error bars of the points among them, so that an axis has room for both.
  function withBars(datasets, inView, type) {
    const high = Math.max(...inView);
    const low = Math.min(...inView);
    const ends = datasets.flatMap((d) => d.points)
      .filter((p) => p.low !== undefined && p.y >= low && p.y <= high).flatMap((p) => [p.low, p.high]);
    return inView.concat(ends.filter((value) => type !== "logarithmic" || value > 0));
  }

  const heights = (datasets, more) => datasets.flatMap((d) => d.points.map((p) => p.y)).concat(more);
  const direction = (column) => (column.higherIsBetter ? "higher is better" : "lower is better");
  const titleOf = (column) => (column.name || column.task) + (column.unit ? `, ${column.unit}` : "");
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  // Quality over bits per weight.
  function drawBits(model, column, series) {
    const full = fullRow(model)?.cells[state.column];
    const datasets = series.map((s) => ({
      ...s,
      points: pointsOf(model, s, (row, cell) => withError({ x: row.bpw, y: cell.value }, cell, 1)),
    }));
    const values = heights(datasets, full ? [full.value] : []);
    const { scale, possible, type, values: inView } = resolveScale(values, full?.value);
    const xs = widths(datasets, inView);
    byId("bits-title").textContent = `${capital(column.name || column.task)} by bits per weight`;
    byId("bits-note").textContent =
      `${column.task}, ${direction(column)}; ` +
      { linear: "linear scale", logarithmic: "logarithmic scale", close: "close-up of what is near full precision" }[scale];
    draw({
      canvas: "bits-chart",
      label: `Line chart of ${column.label} over bits per weight, one line per method and group size: ` +
        `${series.map((s) => s.name).join(", ")}. All numbers are in the table below.`,
      x: axis("bits per weight", { min: Math.floor(Math.min(...xs) - 0.2), max: Math.ceil(Math.max(...xs) + 0.2) },
        "linear", String),
      y: axis(titleOf(column), limits(withBars(datasets, inView, type), type), type, tickText),
      datasets,
      baselineAt: full ? { value: full.value, label: `full precision ${full.text}` } : {},
    });
    markScale(scale, possible);
  }

  // Beside a measure of each model alone: how far its predictions are from full precision's, over bits per weight.
  function drawDivergence(model, column, series) {
    const index = model.columns.findIndex((c) =>
      c.metric === "kl_mean" && c.task === column.task && c.protocol === column.protocol);
    const toPoint = (row, cell) => withError({ x: row.bpw, y: cell.value }, cell, 1);
    const datasets = series.map((s) => ({ ...s, points: pointsOf(model, s, toPoint, index) }));
    const values = heights(datasets, []);
    byId("kl-chart").closest("figure").hidden = column.comparesModels || values.length === 0;
    if (!column.comparesModels && index < 0) drawDrop(model, column, series);
    if (column.comparesModels || values.length === 0) return;
    const { type, values: inView } = resolveScale(values, undefined);
    const xs = widths(datasets, inView);
    const divergence = model.columns[index];
    byId("kl-title").textContent = "KL divergence by bits per weight";
    byId("kl-note").textContent = `${divergence.task}, mean over tokens, from full precision; ` +
      `${direction(divergence)}; ${type} scale`;
    draw({
      canvas: "kl-chart",
      label: `Line chart of ${divergence.label} over bits per weight. All numbers are in the table below.`,
      x: axis("bits per weight", { min: Math.floor(Math.min(...xs) - 0.2), max: Math.ceil(Math.max(...xs) + 0.2) },
        "linear", String),
      y: axis(titleOf(divergence), limits(inView, type), type, tickText),
      datasets,
      baselineAt: {},
    });
  }

  // A task that has no divergence of its own: what its score lost, over the divergence on a text.
  function drawDrop(model, column, series) {
    const index = model.columns.findIndex((c) => c.metric === "kl_mean");
    const kl = model.columns[index];
    const datasets = index < 0 ? [] : series.map((s) => ({
      ...s,
      showLine: false,
      points: pointsOf(model, s, (row, cell) => ({
        x: row.cells[index]?.value,
        y: cell.delta,
        ...(cell.paired && { low: cell.paired.low, high: cell.paired.high }),
      })).filter((point) => point.x > 0 && point.y !== undefined)
        .map((point) => ({
          ...point,
          lines: [
            `${column.label} ${point.cell.text}, change ${tickText(point.y)}` +
              (point.low === undefined ? "" : ` (95 %: ${tickText(point.low)} to ${tickText(point.high)})`),
            `${kl.label} ${point.row.cells[index].text} ${kl.unit}`,
          ],
        })),
    }));
    const points = datasets.flatMap((d) => d.points);
    byId("kl-chart").closest("figure").hidden = points.length === 0;
    if (points.length === 0) return;
    byId("kl-title").textContent = `Change of ${column.name} by KL divergence`;
    byId("kl-note").textContent = `${column.task}, from full precision` +
      (points.some((p) => p.low !== undefined) ? " with its paired 95 % interval" : "") +
      `; KL of ${kl.task}, mean over tokens`;
    const ys = points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]).concat(0);
    draw({
      canvas: "kl-chart",
      label: `Scatter chart of the change of ${column.label} over ${kl.label}. All numbers are in the tables below.`,
      x: axis(titleOf(kl), limits(points.map((p) => p.x), "logarithmic"), "logarithmic", tickText),
      y: axis(`change of ${column.name}`, limits(ys, "linear"), "linear", tickText),
      datasets,
      baselineAt: { value: 0, label: "full precision" },
    });
  }

  // Quality as a multiple of full precision, over the size of the model.
  function drawSize(model, column, series) {
    const full = fullRow(model);
    const reference = full?.cells[state.column].value;
    const figure = byId("size-chart").closest("figure");
    figure.hidden = !reference;
    if (!reference) return;
    const toPoint = (row, cell) =>
      withError({ x: row.bytes / 1e6, y: cell.value / reference }, cell, 1 / Math.abs(reference));
    const datasets = series.map((s) => ({ ...s, points: pointsOf(model, s, toPoint) }));
    datasets.push({
      name: "full precision",
      color: color("--ink"),
      shape: "rectRot",
      dash: [],
      points: full.bytes
        ? [{ x: full.bytes / 1e6, y: 1, row: full, cell: full.cells[state.column], column: state.column }] : [],
    });
    const { type, values } = resolveScale(heights(datasets, [1]), 1);
    byId("size-title").textContent = `${capital(column.name || column.task)} by model size`;
    byId("size-note").textContent = `multiple of full precision, ${direction(column)}`;
    draw({
      canvas: "size-chart",
      label: `Line chart of ${column.label} as a multiple of full precision over the size of the model in MB. ` +
        "All numbers are in the table below.",
      x: axis("model size, MB", limits(widths(datasets, values), "linear"), "linear", String),
      y: axis("× full precision", limits(withBars(datasets, values, type), type), type,
        (value) => `${tickText(value)}×`),
      datasets,
      baselineAt: { value: 1, label: "full precision" },
    });
  }

  // What each layer loses by itself, on rows that nothing was learned from: recipes of one number of bits, so that
  // a line is a method.
  function drawLayers(model, series) {
    const figure = byId("layers-chart").closest("figure");
    const measured = model.rows.filter((row) => row.layerErrors?.length);
    figure.hidden = measured.length === 0;
    if (figure.hidden) return;
    const bits = [...new Set(measured.map((row) => row.bits))];
    if (!bits.includes(state.layersBits)) state.layersBits = bits.includes(4) ? 4 : bits[0];
    byId("layers-bits").replaceChildren(...bits.map((n) =>
      new Option(`${n} bit${n === 1 ? "" : "s"}`, n, false, n === state.layersBits)));
    const datasets = series.map((s) => ({
      ...s,
      clip: 8,  // the first and the last layer are at the edges
      points: measured.filter((row) => row.series === s.name && row.bits === state.layersBits)
        .flatMap((row) => row.layerErrors.map((e) => ({
          x: e.layer,
          y: e.value,
          row,
          lines: [`layer ${e.layer}: ${e.text}`, ...(e.worst ? [`most: ${e.worst}`] : [])],
        }))),
    }));
    const values = heights(datasets, []);
    const type = Math.min(...values) > 0 ? "logarithmic" : "linear";
    const last = Math.max(1, ...datasets.flatMap((d) => d.points.map((p) => p.x)));
    byId("layers-note").textContent = "squared change of a layer's output on held-out text, relative to what the " +
      `layer adds; the layer alone, without the errors before it; lower is better; ${type} scale`;
    draw({
      canvas: "layers-chart",
      label: `Line chart of the relative output error of each layer, recipes of ${state.layersBits} bits, one line ` +
        "per method and group size. All numbers are in the JSON download.",
      x: axis("layer", { min: 0, max: last }, "linear", (value) => (Number.isInteger(value) ? String(value) : "")),
      y: axis("relative output error", limits(values, type), type, tickText),
      datasets,
      baselineAt: {},
    });
  }

  function drawAll() {
    while (charts.length) charts.pop().destroy();
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    const model = study.models[state.model];
    const column = model.columns[state.column];
    const drawn = model.rows.some((row) => !row.full && row.bytes && row.cells[state.column]?.text);
    for (const part of document.querySelectorAll(".figures, .segments")) part.hidden = !drawn;
    const drawable = (s) => pointsOf(model, s, () => ({})).length > 0;
    const series = seriesOf(model).filter(drawable);
    drawLegend(series);
    if (drawn) {
      drawBits(model, column, series);
      drawDivergence(model, column, series);
      drawSize(model, column, series);
      drawLayers(model, series);
    }
    const failed = model.rows.filter((row) => row.cells[state.column]?.error).map((row) => row.recipe);
    byId("not-drawn").hidden = !failed.length;
    byId("not-drawn").textContent = `Failed, so not drawn: ${failed.join(", ")}.`;
  }

  // ---- Controls -------------------------------------------------------------------------------------

  function markScale(scale, possible) {
    for (const button of document.querySelectorAll("[data-scale]")) {
      button.setAttribute("aria-pressed", String(button.dataset.scale === scale));
      button.disabled = !possible[button.dataset.scale];
    }
  }

  function legendIcon(series) {
    const canvas = document.createElement("canvas");
    const ratio = 2;
    canvas.width = 30 * ratio;
    canvas.height = 14 * ratio;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.strokeStyle = ctx.fillStyle = series.color;
    ctx.lineWidth = 2;
    ctx.setLineDash(series.dash);
    ctx.beginPath();
    ctx.moveTo(1, 7);
    ctx.lineTo(29, 7);
    ctx.stroke();
    ctx.setLineDash([]);
    Chart.helpers.drawPoint(ctx, { pointStyle: series.shape, radius: 4.5, borderWidth: 1.5 }, 15, 7);
    return canvas;
  }

  function drawLegend(series) {
    byId("legend").replaceChildren(...series.map((s) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!state.hidden.has(s.name)));
      button.append(legendIcon(s), s.name);
      button.addEventListener("click", () => {
        const visible = state.hidden.has(s.name);
        if (visible) state.hidden.delete(s.name);
        else state.hidden.add(s.name);
        button.setAttribute("aria-pressed", String(visible));
        for (const chart of charts) {
          chart.data.datasets.forEach((dataset, i) => {
            if (dataset.label === s.name) chart.setDatasetVisibility(i, visible);
          });
          chart.update();
        }
      });
      return button;
    }));
  }

  function chooseModel(index) {
    state.model = index;
    state.column = 0;
    const columns = study.models[index].columns;
    byId("column").replaceChildren(...columns.map((column, i) => new Option(column.label, i)));
    byId("column-choice").hidden = columns.length < 2;
    layerMap.choose(study.models[index]);
    for (const section of document.querySelectorAll("section.model")) {
      section.hidden = Number(section.dataset.model) !== index;
    }
    drawAll();
  }

  // ---- Sorting --------------------------------------------------------------------------------------

  // A row's value under a heading: "bpw", or "value:2" for the third column. undefined sorts last.
  function sortValue(row, key) {
    const [name, column] = key.split(":");
    return column === undefined ? row[name] : row.cells[Number(column)]?.[name];
  }

  function compare(a, b) {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  }

  // First click ascending, second descending, third back to the report's own order.
  function sortTable(table, model, heading) {
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    const order = next[heading.getAttribute("aria-sort") ?? "none"];
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    if (order !== "none") heading.setAttribute("aria-sort", order);
    table.classList.toggle("sorted", order !== "none");
    const key = heading.querySelector("button").dataset.sort;
    const sign = order === "descending" ? -1 : 1;
    const rank = (tr) => Number(tr.dataset.row);
    const value = (tr) => sortValue(model.rows[rank(tr)], key);
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (order === "none") return rank(a) - rank(b);
      const missing = value(a) === undefined || value(b) === undefined;
      return compare(value(a), value(b)) * (missing ? 1 : sign) || rank(a) - rank(b);
    });
    table.tBodies[0].append(...rows);
  }

  // ---- Downloads ------------------------------------------------------------------------------------

  function download(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // ---- Start ----------------------------------------------------------------------------------------

  byId("theme").addEventListener("click", () => {
    setDark(!dark);
    drawAll();
  });
  system.addEventListener("change", () => {
    setDark(system.matches);
    drawAll();
  });
  for (const button of document.querySelectorAll("[data-scale]")) {
    button.addEventListener("click", () => {
      state.scale = button.dataset.scale;
      drawAll();
    });
  }
  byId("model").addEventListener("change", (event) => chooseModel(Number(event.target.value)));
  byId("column").addEventListener("change", (event) => {
    state.column = Number(event.target.value);
    drawAll();
  });
  byId("layers-bits").addEventListener("change", (event) => {
    state.layersBits = Number(event.target.value);
    drawAll();
  });
  for (const section of document.querySelectorAll("section.model")) {
    const model = study.models[Number(section.dataset.model)];
    for (const button of section.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => sortTable(section.querySelector("table"), model, button.closest("th")));
    }
  }
  const { csv, ...rest } = study;
  byId("csv").addEventListener("click", () => download("results.csv", "text/csv", csv));
  byId("json").addEventListener("click",
    () => download("results.json", "application/json", JSON.stringify(rest, null, 2) + "\n"));

  // Paper is white, and narrower than the window.
  addEventListener("beforeprint", () => {
    byId("dark").media = "not all";
    drawAll();
    for (const chart of charts) chart.resize(660, 300);
  });
  addEventListener("afterprint", () => {
    setDark(dark);
    drawAll();
  });

  setDark(dark);
  for (const id of ["theme", "charts", "downloads"]) byId(id).hidden = false;
  byId("model-choice").hidden = study.models.length < 2;
  chooseModel(0);
})();
