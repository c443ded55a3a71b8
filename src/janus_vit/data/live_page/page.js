// Shows the updates of a live page. Everything that came from a network goes into the page as text, never as HTML.
import { drawArea, drawLatency, drawMap, drawSent, readColours } from "./charts.js";

const settings = JSON.parse(document.body.dataset.settings);
const { columns, point: pointNames, sent: sentNames, kept } = settings;
const at = Object.fromEntries(columns.map((name, index) => [name, index]));
const firstPoint = columns.length - pointNames.length;
const byId = (id) => document.getElementById(id);
const SILENT_S = 10, SORT_MS = 5000, DRAW_MS = 4, RETRY_MS = 2000;

const streams = new Map(); // by number: what is known of a stream, and its elements
const tiles = settings.tiles.map(makeTile);
const dirty = new Set(); // streams and tiles to draw
let streamAt = () => -1, sorted = 0, opened = false, order = [];

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function makeTile({ label, unit, hint }) {
  const root = document.createElement("div"), name = document.createElement("span");
  const value = document.createElement("strong"), small = document.createElement("small"), canvas = document.createElement("canvas");
  root.className = "tile";
  root.title = hint;
  name.textContent = label;
  small.textContent = unit;
  root.append(name, value, small, canvas);
  byId("tiles").append(root);
  return { unit, value, values: [], draw() { drawArea(canvas, this.values, kept); } };
}

function shown(value, unit) {
  if (value === null) return "–";
  if (unit === "%") return percent(value);
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toPrecision(2);
}

const percent = (share) => (share > 0.9995 ? "100" : share >= 0.1 ? (100 * share).toFixed(1) : (100 * share).toPrecision(2));

function makeStream(row) {
  const root = byId("stream").content.firstElementChild.cloneNode(true);
  const find = (selector) => root.querySelector(selector);
  const stream = {
    root, row, points: [], visible: false, label: row[at.name] || "(no name)",
    name: find(".name"), plan: find(".plan"), inTime: find(".in_time"), expected: find(".expected"),
    fallbacks: find(".fallbacks"), refusals: find(".refusals"),
    latency: find(".latency canvas"), latencyText: find(".latency figcaption"),
    link: find(".link canvas"), linkText: find(".link figcaption"), payload: find(".payload canvas"),
    draw() {
      drawLatency(this.latency, this.points, this.row[at.sla_ms] || 0, kept);
      drawArea(this.link, this.points.map((each) => each.mbps), kept, "Mbps");
      drawSent(this.payload, this.points.map((each) => each.sent), sentNames, kept);
    },
  };
  root.dataset.id = row[at.id];
  setText(stream.name, stream.label);
  const toggle = () => {
    root.setAttribute("aria-expanded", root.classList.toggle("open"));
    dirty.add(stream);
  };
  root.addEventListener("click", toggle);
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle();
  });
  byId("streams").append(root);
  seen.observe(root);
  streams.set(row[at.id], stream);
  return stream;
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const stream = streams.get(Number(entry.target.dataset.id));
    if (!stream) continue;
    stream.visible = entry.isIntersecting;
    if (stream.visible) {
      write(stream);
      dirty.add(stream);
    }
  }
}, { rootMargin: "100px" });

const asPoint = (values) => Object.fromEntries(pointNames.map((name, index) => [name, values[index]]));

function write(stream) {
  const row = stream.row, silent = row[at.silent_s] > SILENT_S, latest = latestPoint(stream);
  stream.root.classList.toggle("silent", silent);
  const reported = row[at.plan] !== null;
  setText(stream.plan, silent ? `silent for ${Math.round(row[at.silent_s])} s` : reported ? row[at.plan] : `${row[at.requests_per_s]} requests/s`);
  setText(stream.inTime, row[at.in_time] === null ? "–" : `${percent(row[at.in_time])} %`);
  stream.inTime.classList.toggle("bad", row[at.in_time] !== null && row[at.in_time] < 0.95);
  setText(stream.expected, row[at.expected] === null ? "" : `${percent(row[at.expected])} % right`);
  setText(stream.fallbacks, String(row[at.fallbacks] ?? "–"));
  setText(stream.refusals, String(row[at.refusals] ?? "–"));
  setText(stream.latencyText, latest.latency_ms == null ? "" : `${Math.round(latest.latency_ms)} of ${Math.round(row[at.sla_ms])} ms`);
  setText(stream.linkText, latest.mbps == null ? "" : `${latest.mbps.toPrecision(3)} Mbps`);
}

function latestPoint(stream) {
  for (let index = stream.points.length - 1; index >= Math.max(0, stream.points.length - 6); index--) {
    if (stream.points[index].latency_ms !== null) return stream.points[index];
  }
  return {};
}

function push(list, value) {
  list.push(value);
  if (list.length > kept) list.shift();
}

function apply(update) {
  const present = new Set();
  for (const row of update.rows) {
    const id = row[at.id], stream = streams.get(id) || makeStream(row);
    present.add(id);
    stream.row = row;
    push(stream.points, asPoint(row.slice(firstPoint)));
    if (stream.visible) {
      write(stream);
      dirty.add(stream);
    }
  }
  for (const [id, stream] of streams) {
    if (present.has(id)) continue;
    seen.unobserve(stream.root);
    stream.root.remove();
    dirty.delete(stream);
    streams.delete(id);
    sorted = 0;
  }
  update.tiles.forEach((value, index) => {
    push(tiles[index].values, value);
    setText(tiles[index].value, shown(value, tiles[index].unit));
    dirty.add(tiles[index]);
  });
  setText(byId("count"), streams.size > 1 ? String(streams.size) : "");
  byId("empty").hidden = streams.size > 0;
  byId("unlisted").hidden = !update.unlisted;
  if (!opened && streams.size) {
    opened = true;
    if (streams.size === 1) [...streams.values()][0].root.click();
  }
  if (performance.now() - sorted > SORT_MS || order.length !== streams.size) sort();
  byId("fleet").hidden = streams.size < 2;
  if (streams.size > 1) streamAt = drawMap(byId("map"), order.map(grade));
}

function grade(stream) {
  const share = stream.row[at.in_time];
  if (share === null || stream.row[at.silent_s] > SILENT_S) return "unknown";
  return share >= 0.99 ? "good" : share >= 0.95 ? "fair" : "bad";
}

const byName = new Intl.Collator("en", { numeric: true });
const or = (value, otherwise) => (value === null || value === undefined ? otherwise : value);
const KEYS = {
  worst: (stream) => or(stream.row[at.in_time], 2),
  name: () => 0,
  latency: (stream) => -or(latestPoint(stream).latency_ms, -1),
  link: (stream) => or(latestPoint(stream).mbps, Infinity),
};

function sort() {
  sorted = performance.now();
  const key = KEYS[byId("sort").value], keys = new Map([...streams.values()].map((each) => [each, key(each)]));
  order = [...streams.values()].sort(
    (one, other) => keys.get(one) - keys.get(other) || byName.compare(one.label, other.label),
  );
  let place = byId("streams").firstElementChild;
  for (const { root } of order) {
    if (root === place) place = place.nextElementSibling;
    else byId("streams").insertBefore(root, place);
  }
  const wanted = byId("filter").value.toLowerCase();
  for (const { root, label } of order) root.hidden = !label.toLowerCase().includes(wanted);
}

// Draw what has changed, a few milliseconds in each frame, so that the page scrolls smoothly meanwhile.
function draw() {
  const until = performance.now() + DRAW_MS;
  for (const each of dirty) {
    dirty.delete(each);
    if (each.visible !== false) each.draw();
    if (performance.now() > until) break;
  }
  requestAnimationFrame(draw);
}

function redraw() {
  readColours();
  for (const each of [...streams.values(), ...tiles]) dirty.add(each);
  if (streams.size > 1) streamAt = drawMap(byId("map"), order.map(grade));
}

function showState(name, text) {
  byId("state").className = `state ${name}`;
  setText(byId("state"), text);
}

function retry() {
  showState("lost", "connection lost, trying again");
  setTimeout(watch, RETRY_MS);
}

function restore(past, rows) {
  past.tiles.forEach((values) => values.forEach((value, index) => push(tiles[index].values, value)));
  for (const row of rows) (streams.get(row[at.id]) || makeStream(row)).points = (past.streams[row[at.id]] || []).map(asPoint);
}

async function watch() {
  let past;
  try {
    const history = await fetch("/history");
    if (history.status === 401) return showState("lost", "the session has ended: reload the page");
    past = await history.json();
  } catch {
    return retry();
  }
  const events = new EventSource("/events");
  events.onmessage = (message) => {
    const update = JSON.parse(message.data);
    if (past) restore(past, update.rows);
    past = null;
    apply(update);
    showState("live", "live");
  };
  events.onerror = () => {
    events.close();
    retry();
  };
}

byId("filter").addEventListener("input", sort);
byId("sort").addEventListener("change", sort);
byId("map").addEventListener("click", (event) => {
  const stream = order[streamAt(event.offsetX, event.offsetY)];
  if (!stream) return;
  stream.root.scrollIntoView({ block: "center" });
  stream.root.focus();
});
byId("map").addEventListener("mousemove", (event) => {
  const stream = order[streamAt(event.offsetX, event.offsetY)];
  byId("map").title = stream ? stream.name.textContent : "";
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", redraw);
readColours();
requestAnimationFrame(draw);
watch();
