// SPDX-License-Identifier: Apache-2.0
// Opens a report in headless Chromium and compares what a reader sees with results.db.
//
//   NODE_PATH=FOLDER/node_modules node check_report.cjs report.html results.db [SCREENSHOT_FOLDER]
//
// Needs playwright-core (any recent one; npm install it outside the tree), chromium and sqlite3. A
// development-time test: `make test` does not run it. Exit code 0 = every check held.
"use strict";

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const [reportPath, databasePath, screenshotFolder] = process.argv.slice(2);
if (!databasePath) {
  console.error("usage: node check_report.cjs report.html results.db [SCREENSHOT_FOLDER]");
  process.exit(2);
}

let checks = 0;
const failures = [];
function check(holds, claim) {
  ++checks;
  if (!holds) failures.push(claim);
}

// ---- The database, read without lowbit ------------------------------------------------------------------

// Doubles travel as their eight bytes: the shell prints only 15 digits.
const exact = (column) => `hex(ieee754_to_blob(${column}))`;
function double(hex) {
  return hex ? Buffer.from(hex, "hex").readDoubleBE(0) : null;
}

// Answers that a recipe lost and gained against full precision, by task; nothing where none are kept.
function readFlips() {
  const tables = execFileSync("sqlite3", [databasePath, "SELECT count(*) FROM sqlite_schema WHERE name = 'answers'"]);
  if (Number(tables) === 0) return [];
  const sql = `SELECT c.model, c.recipe, c.task, sum(a.acc > b.acc) AS lost, sum(b.acc > a.acc) AS gained
    FROM cells f JOIN cells c ON c.model = f.model AND c.task = f.task AND c.protocol = f.protocol AND f.method = 'full'
      AND c.method <> 'full'
    JOIN answers a ON a.cell_id = f.id JOIN answers b ON b.cell_id = c.id AND b.item = a.item GROUP BY c.id`;
  return JSON.parse(execFileSync("sqlite3", ["-json", databasePath, sql], { encoding: "utf8" }) || "[]");
}

function readDatabase() {
  const sql = `SELECT c.model, c.model_folder, c.recipe, c.method,
      CASE WHEN c.method = 'full' THEN c.weight_bits ELSE max(c.weight_bits, CAST(coalesce(c.quantized_bpw, 0) AS INTEGER)) END AS bits, c.task, c.protocol, c.status, c.error,
      ${exact("c.quantized_bpw")} AS bpw, c.model_bytes AS bytes, m.name AS metric, ${exact("m.value")} AS value,
      CASE WHEN m.stderr IS NULL THEN NULL ELSE ${exact("m.stderr")} END AS stderr, m.higher_is_better AS higher
    FROM cells c LEFT JOIN metrics m ON m.cell_id = c.id ORDER BY c.id, m.position`;
  const out = execFileSync("sqlite3", ["-json", databasePath, sql], { encoding: "utf8", maxBuffer: 1 << 28 });
  return JSON.parse(out || "[]").map((row) => ({ ...row, bpw: row.bytes ? double(row.bpw) : null,
    value: row.metric ? double(row.value) : null, stderr: double(row.stderr) }));
}

// ---- What a number on the page says ----------------------------------------------------------------------

const kSuperscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function parseShown(text) {
  const plain = text.replace(/[•±\s]/g, "").replace("%", "").replace("−", "-")
    .replace(/×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/, (_, digits) => "e" + [...digits].map((c) => (c === "⁻" ? "-" : kSuperscripts.indexOf(c))).join(""));
  return plain === "" || /[^-+.0-9e]/.test(plain) ? NaN : Number(plain);
}

// Rounded to `digits` significant ones, but never before the point up to 1e5.
function showsRounded(text, value, digits) {
  const shown = parseShown(text);
  const power = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  const unit = 10 ** (Math.abs(value) > 1e4 ? power - digits + 1 : Math.min(0, power - digits + 1));
  return Math.abs(shown - value) <= 0.5001 * Math.max(unit, Math.abs(value) > 1e4 && Math.abs(value) <= 1e5 ? 1 : 0);
}

// ---- Reading the page -------------------------------------------------------------------------------------

function readTables() {
  return [...document.querySelectorAll("section.model")].map((section) => ({
    name: section.querySelector("h3").textContent,
    labels: [...section.querySelectorAll(":scope > .scroll th.measure")].map((th) => th.firstChild.textContent.trim()),
    rows: [...section.querySelectorAll(":scope > .scroll tbody tr")].map((tr) => {
      const read = (td) => td?.dataset.value === undefined ? null : { exact: td.dataset.value, text: td.firstChild.textContent };
      const cells = [];
      for (const td of tr.querySelectorAll("td.edge")) {
        if (td.classList.contains("failed")) cells.push({ failed: td.textContent });
        else if (td.classList.contains("none")) cells.push(null);
        else {
          const error = td.nextElementSibling;
          const delta = error.nextElementSibling;  // or the next measure: some have no change
          cells.push({ value: read(td), best: !!td.querySelector("b"), error: read(error), delta: read(delta),
            relative: read(delta?.nextElementSibling) });
        }
      }
      return { recipe: tr.querySelector("th").textContent, kind: tr.className, bits: Number(tr.querySelector("td.bits").textContent),
        bpw: read(tr.querySelector("td.bpw")), bytes: read(tr.querySelector("td.bytes")), cells };
    }),
  }));
}

// Of the tables below the results: recipe, and per measure its texts.
function readPaired() {
  return [...document.querySelectorAll("section.model")].flatMap((section) => {
    const table = section.querySelector(".more table");
    if (!table || !table.querySelector("th.measure")) return [];
    const labels = [...table.querySelectorAll("th.measure")].map((th) => ({ label: th.textContent, columns: th.colSpan }));
    return [...table.querySelectorAll("tbody tr")].map((tr) => {
      const cells = [...tr.querySelectorAll("td")];
      let at = 0;
      const measures = {};
      for (const { label, columns } of labels) {
        const first = cells[at];
        const taken = first?.colSpan > 1 ? 1 : columns;
        measures[label] = cells.slice(at, at + taken).map((td) => td.textContent);
        at += taken;
      }
      return { model: section.querySelector("h3").textContent, recipe: tr.querySelector("th").textContent, measures };
    });
  });
}

function checkPaired(paired, flips) {
  for (const row of flips) {
    const where = `${row.model} / ${row.recipe} / ${row.task} flips`;
    const shown = paired.find((p) => p.model === row.model && p.recipe === row.recipe)?.measures[`${row.task} acc`];
    check(shown?.[3] === `${row.lost} / ${row.gained}`, `${where}: ${shown?.[3]}, expected ${row.lost} / ${row.gained}`);
  }
}

// What the page calls a metric.
const kNames = { kl_mean: "KL mean", kl_median: "KL median", kl_p99: "KL 99 %", top1_agreement: "top-1 agreement" };
const nameOf = (row) => kNames[row.metric] ?? row.metric;

function checkTables(tables, rows) {
  let matched = 0;
  for (const row of rows) {
    const where = `${row.model} / ${row.recipe} / ${row.task} ${row.metric ?? ""}`;
    const table = tables.find((t) => t.name === row.model);
    const shown = table?.rows.find((r) => r.recipe === row.recipe);
    check(!!shown, `${where}: is in a table`);
    if (!shown) continue;
    if (row.status === "failed") {
      ++matched;
      check(shown.cells.some((c) => c?.failed?.includes(row.error)), `${where}: shows its error`);
      continue;
    }
    const column = table.labels.indexOf(`${row.task} ${nameOf(row)}`);
    const cell = shown.cells[column];
    check(!!cell?.value, `${where}: has a number`);
    if (!cell?.value) continue;
    ++matched;
    check(Number(cell.value.exact) === row.value, `${where}: ${cell.value.exact} is ${row.value}`);
    check(showsRounded(cell.value.text, row.value, 4), `${where}: "${cell.value.text}" reads as ${row.value}`);
    check(Number(shown.bpw.exact) === row.bpw, `${where}: bits per weight`);
    check(Math.abs(parseShown(shown.bpw.text) - row.bpw) <= 0.00501, `${where}: shown bits per weight`);
    check(Number(shown.bytes.exact) === row.bytes, `${where}: bytes`);
    check((cell.error === null) === (row.stderr === null), `${where}: standard error there or not`);
    if (row.stderr !== null) {
      check(Number(cell.error.exact) === row.stderr, `${where}: standard error`);
      check(showsRounded(cell.error.text, row.stderr, 2), `${where}: "${cell.error.text}" reads as ${row.stderr}`);
    }
    const full = rows.find((r) => r.model === row.model && r.method === "full" && r.task === row.task && r.metric === row.metric);
    if (full && row !== full) {
      const delta = row.value - full.value;
      check(Number(cell.delta.exact) === delta, `${where}: change`);
      check(showsRounded(cell.delta.text, delta, 3), `${where}: "${cell.delta.text}" reads as ${delta}`);
      check(Number(cell.relative.exact) === delta / Math.abs(full.value), `${where}: relative change`);
      check(Math.abs(parseShown(cell.relative.text) / 100 / (delta / full.value) - 1) < 6e-3 || Math.abs(delta / full.value) < 0.01,
        `${where}: "${cell.relative.text}"`);
    }
    const peers = rows.filter((r) => r.model === row.model && r.task === row.task && r.metric === row.metric && r.bits === row.bits && r.method !== "full");
    const best = row.higher ? Math.max(...peers.map((r) => r.value)) : Math.min(...peers.map((r) => r.value));
    check(cell.best === (row.method !== "full" && peers.length > 1 && row.value === best), `${where}: mark of the best`);
  }
  const shownCells = tables.flatMap((t) => t.rows).flatMap((r) => r.cells).filter(Boolean);
  const failedTwice = shownCells.filter((c) => c.failed).length - rows.filter((r) => r.status === "failed").length;
  check(shownCells.length - Math.max(0, failedTwice) === matched, `the tables hold the ${matched} results and nothing else`);
  for (const table of tables) {
    const bits = table.rows.map((row) => (row.kind === "full" ? Infinity : row.bits));
    check(bits.every((b, i) => i === 0 || b <= bits[i - 1]), `${table.name}: full precision first, then bits descending`);
  }
}

// ---- Charts -----------------------------------------------------------------------------------------------

// Share of pixels that are not transparent, and a checksum of all of them.
function inkOf(id) {
  const canvas = document.getElementById(id);
  const copy = document.createElement("canvas");  // reading the original back would make the browser warn
  copy.width = canvas.width;
  copy.height = canvas.height;
  const ctx = copy.getContext("2d", { willReadFrequently: true });
  ctx.drawImage(canvas, 0, 0);
  const pixels = ctx.getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0;
  let sum = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] !== 0) ++drawn;
    sum = (sum * 31 + pixels[i] + 3 * pixels[i + 1] + 7 * pixels[i + 2] + 11 * pixels[i + 3]) % 4294967291;
  }
  return { share: drawn / (pixels.length / 4), sum, width: canvas.width };
}

// Errors and ranges of the first model's linears, as the database has them: {recipe: {part: [by layer]}}.
function readLayerMap(model) {
  const query = (sql) => JSON.parse(execFileSync("sqlite3", ["-json", databasePath, sql],
    { encoding: "utf8", maxBuffer: 1 << 28 }) || "[]");
  const there = (table) => query(`SELECT 1 FROM sqlite_schema WHERE name = '${table}'`).length > 0;
  const of = `FROM %1 JOIN cells ON cells.id = cell_id WHERE model = '${model.replaceAll("'", "''")}'`;
  const errors = there("layer_errors")
    ? query(`SELECT DISTINCT recipe, part, layer, relative_error AS value ${of.replace("%1", "layer_errors")}`) : [];
  const ranges = there("inputs")
    ? query(`SELECT DISTINCT recipe, linear, layer, largest, peak ${of.replace("%1", "inputs")}`) : [];
  return { errors, ranges };
}

async function checkLayerMap(page, shots) {
  const model = await page.evaluate(() => JSON.parse(document.getElementById("study").textContent).models[0].name);
  const { errors, ranges } = readLayerMap(model);
  check((await page.isVisible("#layer-map")) === errors.length > 0, "layer map: there exactly where layers were measured");
  if (errors.length === 0) return;
  if (shots) await shots("layer-map");
  for (const recipe of new Set(errors.map((e) => e.recipe))) {
    await page.selectOption("#layer-map-recipe", recipe);
    for (const part of ["weights", "inputs"]) {
      const wanted = errors.filter((e) => e.recipe === recipe && e.part !== "layer" &&
        e.part.endsWith(" inputs") === (part === "inputs"));
      const button = page.locator(`[data-part="${part}"]`);
      check((await button.isEnabled()) === wanted.length > 0, `layer map: ${recipe} has ${part}`);
      if (wanted.length === 0) continue;
      await button.click();
      const cells = await page.$$eval("#layer-map-body tr", (trs) => Object.fromEntries(trs.map((tr) =>
        [tr.querySelector("th").textContent, [...tr.querySelectorAll("td")].map((td) =>
          ({ text: td.textContent, title: td.title, color: td.style.backgroundColor }))])));
      let same = 0;
      for (const { part: name, layer, value } of wanted) {
        const linear = name.replace(/ inputs$/, "");
        const cell = cells[linear]?.[layer];
        const range = ranges.find((r) => r.recipe === recipe && r.linear === linear && r.layer === layer);
        const told = /\|x\| up to (\S+), peak (\S+)/.exec(cell?.title ?? "");
        const near = (text, number) => Math.abs(Number(text) - number) <= 5.1e-3 * number;
        const range_right = part === "inputs" && range
          ? told && near(told[1], range.largest) && near(told[2], range.peak) : !told;
        if (cell && near(cell.text, value) && cell.color && range_right) ++same;
      }
      check(same === wanted.length, `layer map: ${recipe}, ${part}: ${same} of ${wanted.length} cells are the database's`);
      const most = wanted.reduce((a, b) => (b.value > a.value ? b : a));
      const first = await page.$eval("#layer-map-worst li", (li) => li.textContent);
      check(first.startsWith(`layer ${most.layer}, ${most.part.replace(/ inputs$/, "")}: `), `layer map: ${recipe}, ${part}: worst first`);
    }
  }
}

async function checkCharts(page, shots) {
  const ink = (id) => page.evaluate(inkOf, id);
  for (const id of ["bits-chart", "size-chart"]) {
    const drawn = await ink(id);
    check(drawn.share > 0.005 && drawn.share < 0.9, `${id}: drawn (${drawn.share})`);
    const label = await page.getAttribute(`#${id}`, "aria-label");
    check(/table/.test(label ?? ""), `${id}: has a text alternative`);
  }
  const divergence = await page.evaluate(() => JSON.parse(document.getElementById("study").textContent)
    .models[0].columns.some((c) => c.metric === "kl_mean"));
  check((await page.isVisible("#kl-chart")) === divergence, "kl-chart: there exactly where divergence was measured");
  if (divergence) check((await ink("kl-chart")).share > 0.005, "kl-chart: drawn");
  const measured = await page.evaluate(() => JSON.parse(document.getElementById("study").textContent)
    .models[0].rows.some((row) => row.layerErrors?.length));
  check((await page.isVisible("#layers-chart")) === measured, "layers-chart: there exactly where layers were measured");
  if (measured) {
    const shown = await ink("layers-chart");
    check(shown.share > 0.005, "layers-chart: drawn");
    const other = await page.$eval("#layers-bits option:not(:checked)", (option) => option.value);
    await page.selectOption("#layers-bits", other);
    check((await ink("layers-chart")).sum !== shown.sum, "layers-chart: other bits are other lines");
  }
  const pressed = () => page.$eval('[data-scale][aria-pressed="true"]', (b) => b.dataset.scale);
  const before = await ink("bits-chart");
  const first = await pressed();
  await page.click(`[data-scale]:not([data-scale="${first}"]):not([data-scale="close"])`);
  check((await pressed()) !== first, "scale: the other button is pressed");
  check((await ink("bits-chart")).sum !== before.sum, "scale: the chart is drawn anew");
  await page.click(`[data-scale="${first}"]`);
  check((await ink("bits-chart")).sum === before.sum, "scale: and back");
  const close = page.locator('[data-scale="close"]');
  if (await close.isEnabled()) {
    await close.click();
    check((await ink("bits-chart")).sum !== before.sum, "scale: the close-up is drawn");
    if (shots) await shots("close-up");
    await page.click(`[data-scale="${first}"]`);
  }

  const legend = page.locator("#legend button").first();
  await legend.click();
  check((await legend.getAttribute("aria-pressed")) === "false", "legend: the line is off");
  check((await ink("bits-chart")).sum !== before.sum, "legend: the line is gone from the chart");
  await legend.click();
  check((await ink("bits-chart")).sum === before.sum, "legend: and back");

  await page.locator("#bits-chart").scrollIntoViewIfNeeded();
  const values = await page.evaluate(() => {
    const chart = Chart.getChart("bits-chart");
    const point = chart.getDatasetMeta(0).data[0];
    const box = chart.canvas.getBoundingClientRect();
    return { x: box.left + point.x, y: box.top + point.y, recipe: chart.data.datasets[0].data[0].row.recipe };
  });
  await page.mouse.move(values.x, values.y);
  await page.waitForFunction(() => Chart.getChart("bits-chart").tooltip.opacity > 0, null, { timeout: 5000 });
  const tooltip = await page.evaluate(() => {
    const { title, body } = Chart.getChart("bits-chart").tooltip;
    return { title: title.join(" "), lines: body.flatMap((b) => b.lines) };
  });
  check(tooltip.title === values.recipe && tooltip.lines.length === 3, `tooltip: names the recipe (${JSON.stringify(tooltip)})`);
  await page.mouse.move(2, 2);
}

// ---- Controls ----------------------------------------------------------------------------------------------

async function checkSorting(page) {
  const column = () => page.$$eval("section.model:not([hidden]) > .scroll tbody tr", (rows) =>
    rows.map((tr) => tr.querySelector("td.edge.value")?.dataset.value).filter((v) => v !== undefined).map(Number));
  const button = page.locator('section.model:not([hidden]) [data-sort="value:0"]');
  const original = await column();
  const sorted = [...original].sort((a, b) => a - b);
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  await button.click();
  check(same(await column(), sorted), "sort: ascending");
  await button.click();
  check(same(await column(), sorted.reverse()), "sort: descending");
  await button.click();
  check(same(await column(), original), "sort: back to the report's order");
}

async function checkDownloads(page, rows) {
  const text = async (id) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#${id}`)]);
    return { name: download.suggestedFilename(), text: fs.readFileSync(await download.path(), "utf8") };
  };
  const csv = await text("csv");
  check(csv.name === "results.csv" && csv.text.startsWith("model,recipe,"), "download: CSV");
  for (const row of rows.filter((r) => r.metric)) {
    check(csv.text.includes(`,${row.metric},`) , `download: ${row.metric} is in the CSV`);
  }
  const json = await text("json");
  const cells = JSON.parse(json.text).models.flatMap((m) => m.rows).flatMap((r) => r.cells).filter((c) => c && c.value !== undefined);
  check(cells.length === rows.filter((r) => r.metric).length, "download: JSON has every number");
}

async function checkModels(page, rows) {
  const names = [...new Set(rows.map((row) => row.model))];
  check((await page.isVisible("#model-choice")) === names.length > 1, "the model can be chosen where there are several");
  for (let i = 1; i < names.length; ++i) {
    await page.selectOption("#model", String(i));
    const visible = await page.$$eval("section.model:not([hidden])", (s) => s.map((x) => x.dataset.model));
    check(visible.length === 1 && visible[0] === String(i), `model ${i}: its table is shown`);
    const done = rows.some((row) => row.model === names[i] && row.value !== null && row.method !== "full");
    check((await page.isVisible("#bits-chart")) === done, `model ${i}: a chart where there are numbers`);
    for (const id of ["bits-chart", "size-chart"]) {
      if (await page.isVisible(`#${id}`)) check((await page.evaluate(inkOf, id)).share > 0.005, `model ${i}: ${id} is drawn`);
    }
  }
  await page.selectOption("#model", "0").catch(() => {});
  const columns = await page.$$eval("#column option", (options) => options.length);
  for (let i = 1; i < columns; ++i) {
    const before = await page.evaluate(inkOf, "bits-chart");
    await page.selectOption("#column", String(i));
    check((await page.evaluate(inkOf, "bits-chart")).sum !== before.sum, `measure ${i}: drawn`);
  }
  if (columns > 1) await page.selectOption("#column", "0");
}

async function checkTheme(page) {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await background();
  await page.click("#theme");
  check((await background()) !== before, "theme: changes");
  await page.click("#theme");
  check((await background()) === before, "theme: and back");
}

async function checkWidth(page, width) {
  const sizes = await page.evaluate(() => ({
    page: document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth,
    wide: [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll table") && !e.closest(".unseen") && e.getBoundingClientRect().right > innerWidth + 1)
      .map((e) => `${e.tagName}.${e.className}`),
  }));
  check(sizes.page <= 0 && sizes.wide.length === 0, `${width} px: nothing sticks out sideways (${sizes.page}, ${sizes.wide})`);
  const stuck = await page.evaluate(() => {
    const box = document.querySelector("section.model:not([hidden]) .scroll");
    const name = box.querySelector("tbody th");
    const before = name.getBoundingClientRect().left;
    box.scrollLeft = 200;
    const moved = box.scrollLeft;
    const after = name.getBoundingClientRect().left;
    box.scrollLeft = 0;
    return { moved, shift: Math.abs(after - before), width: name.clientWidth };
  });
  if (width < 500) check(stuck.moved > 0, `${width} px: the table scrolls in its own box`);
  check(stuck.width > 60, `${width} px: the recipe is readable (${stuck.width} px wide)`);
  check(stuck.shift < 2, `${width} px: the recipe stays in view`);
}

// ---- Run ----------------------------------------------------------------------------------------------------

async function open(browser, options) {
  const context = await browser.newContext({ ...options, acceptDownloads: true });
  const page = await context.newPage();
  page.on("console", (message) => check(false, `console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => check(false, `script error: ${error.message}`));
  page.on("dialog", (dialog) => { check(false, `dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    const ours = request.url() === pathToFileURL(path.resolve(reportPath)).href || request.url().startsWith("blob:");
    check(ours, `request: ${request.url().slice(0, 200)}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (e) => console.error("policy violation", e.violatedDirective, e.blockedURI));
  });
  await page.goto(pathToFileURL(path.resolve(reportPath)).href);
  return { context, page };
}

async function main() {
  const rows = readDatabase();
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "lowbit-browser-"));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  try {
    for (const width of [1280, 400]) {
      for (const colorScheme of ["light", "dark"]) {
        const { context, page } = await open(browser, { viewport: { width, height: 900 }, colorScheme, deviceScaleFactor: width < 500 ? 2 : 1 });
        if (colorScheme === "light") {
          checkTables(await page.evaluate(readTables), rows);
          checkPaired(await page.evaluate(readPaired), readFlips());
        }
        check((await page.$$("img, iframe, object, embed, link, video")).length === 0, "no element that could load anything");
        const shoot = screenshotFolder && ((suffix) => {
          const name = [path.basename(reportPath, ".html"), width, colorScheme, suffix].filter(Boolean).join("-");
          return page.screenshot({ path: path.join(screenshotFolder, `${name}.png`), fullPage: !suffix });
        });
        if (shoot) await shoot();
        await checkCharts(page, colorScheme === "light" && shoot);
        await checkLayerMap(page, colorScheme === "light" && shoot);
        await checkSorting(page);
        await checkTheme(page);
        await checkModels(page, rows);
        await checkWidth(page, width);
        await checkDownloads(page, rows);
        await context.close();
      }
    }
    const { context, page } = await open(browser, { viewport: { width: 1280, height: 900 }, colorScheme: "dark" });
    const pdf = await page.pdf({ format: "A4", printBackground: false });
    check(pdf.length > 20000, "prints");
    if (screenshotFolder) fs.writeFileSync(path.join(screenshotFolder, `${path.basename(reportPath, ".html")}.pdf`), pdf);
    await context.close();

    const plain = await browser.newContext({ javaScriptEnabled: false });
    const still = await plain.newPage();
    await still.goto(pathToFileURL(path.resolve(reportPath)).href);
    check((await still.locator("section.model tbody tr").count()) >= new Set(rows.map((r) => r.model + r.recipe)).size,
      "without JavaScript every row is still there");
    check(!(await still.isVisible("#charts")), "without JavaScript no empty charts are shown");
    await plain.close();
  } finally {
    await browser.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
  for (const failure of failures) console.error(`FAILED ${failure}`);
  console.log(`${checks - failures.length} of ${checks} checks hold, ${rows.length} database rows`);
  process.exit(failures.length ? 1 : 0);
}

main().catch((error) => { console.error(error); process.exit(1); });
