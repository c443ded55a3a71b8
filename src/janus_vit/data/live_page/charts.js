// Small charts on canvases. Each takes plain numbers; null is a gap.

const style = getComputedStyle(document.documentElement);
let colours = {};

// Read the colours of the style sheet again, after a change between light and dark.
export function readColours() {
  const names = ["ink", "muted", "grid", "panel", "accent", "good", "fair", "bad", "unknown", "image", "tokens", "nothing"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// A canvas of the size at which it is shown, cleared; null while it is not shown.
function sheet(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return null;
  const scale = Math.min(devicePixelRatio, 2);
  const pixels = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

const largest = (values) => values.reduce((most, value) => (value > most ? value : most), 0);

// A line through the values; short gaps are bridged.
function trace(pen, values, x, y) {
  let last = -9;
  pen.beginPath();
  values.forEach((value, index) => {
    if (value === null) return;
    if (index - last > 4) pen.moveTo(x(index), y(value));
    else pen.lineTo(x(index), y(value));
    last = index;
  });
  pen.stroke();
}

function places(width, values, kept) {
  const step = (width - 4) / (kept - 1);
  return (index) => width - 2 - (values.length - 1 - index) * step;
}

function gridLines(pen, width, y, top, unit) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4].find((each) => top / each <= 4) || top / 4;
  pen.strokeStyle = colours.grid;
  pen.fillStyle = colours.muted;
  pen.font = "11px system-ui, sans-serif";
  for (let value = step; value < top; value += step) {
    pen.beginPath();
    pen.moveTo(0, y(value));
    pen.lineTo(width, y(value));
    pen.stroke();
    pen.fillText(`${value} ${unit}`, 2, y(value) - 3);
  }
}

// Latency against the SLA: dots where frames were late, ticks where the device fell back or was refused.
export function drawLatency(canvas, points, slaMs, kept) {
  const area = sheet(canvas);
  if (!area) return;
  const { pen, width, height } = area, large = height > 90;
  const latency = points.map((point) => point.latency_ms);
  const top = Math.min(Math.max(1.25 * slaMs, 1.1 * largest(latency)), 3 * slaMs) || 1;
  const x = places(width, points, kept), base = height - 5;
  const y = (value) => base - (base - 2) * Math.min(value / top, 1);
  pen.lineWidth = 1;
  if (large) gridLines(pen, width, y, top, "ms");
  pen.strokeStyle = colours.bad;
  pen.setLineDash([4, 3]);
  pen.globalAlpha = 0.75;
  pen.beginPath();
  pen.moveTo(0, y(slaMs));
  pen.lineTo(width, y(slaMs));
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  pen.lineWidth = large ? 1.6 : 1.25;
  pen.lineJoin = "round";
  pen.strokeStyle = colours.accent;
  trace(pen, latency, x, y);
  pen.fillStyle = colours.bad;
  points.forEach((point, index) => {
    if (!point.late) return;
    pen.beginPath();
    pen.arc(x(index), y(point.latency_ms), large ? 3 : 2, 0, 7);
    pen.fill();
  });
  pen.fillStyle = colours.fair;
  points.forEach((point, index) => {
    if (point.fell_back || point.refused) pen.fillRect(x(index) - 0.75, height - 4, 1.5, 4);
  });
}

// A filled line from zero.
export function drawArea(canvas, values, kept, unit = "") {
  const area = sheet(canvas);
  if (!area) return;
  const { pen, width, height } = area;
  const top = 1.15 * largest(values) || 1, x = places(width, values, kept);
  const y = (value) => height - 1 - (height - 3) * (value / top);
  pen.lineWidth = 1;
  if (height > 80) gridLines(pen, width, y, top, unit);
  pen.fillStyle = colours.accent;
  pen.globalAlpha = 0.14;
  let began = null, last = null;
  const close = () => {
    if (began === null) return;
    pen.lineTo(x(last), height);
    pen.lineTo(x(began), height);
    pen.fill();
    began = null;
  };
  values.forEach((value, index) => {
    if (value === null) return;
    if (began === null || index - last > 4) {
      close();
      began = index;
      pen.beginPath();
      pen.moveTo(x(index), y(value));
    } else pen.lineTo(x(index), y(value));
    last = index;
  });
  close();
  pen.globalAlpha = 1;
  pen.lineWidth = 1.25;
  pen.strokeStyle = colours.accent;
  trace(pen, values, x, y);
}

// One strip: what was sent.
export function drawSent(canvas, sent, names, kept) {
  const area = sheet(canvas);
  if (!area) return;
  const { pen, width, height } = area;
  const x = places(width, sent, kept), step = (width - 4) / (kept - 1), thick = Math.min(height, 14);
  let began = 0;
  for (let index = 1; index <= sent.length; index++) {
    if (index < sent.length && sent[index] === sent[began]) continue;
    if (sent[began] !== null) {
      pen.fillStyle = colours[names[sent[began]]];
      pen.fillRect(x(began) - step, (height - thick) / 2, (index - began) * step + 0.5, thick);
    }
    began = index;
  }
}

// One square for each stream, in rows; returns which stream is at a point.
export function drawMap(canvas, grades) {
  const gap = 3, width = canvas.clientWidth;
  const side = grades.length > 120 ? 14 : grades.length > 40 ? 18 : 24;
  const columns = Math.max(1, Math.floor((width + gap) / (side + gap)));
  canvas.style.height = `${Math.ceil(grades.length / columns) * (side + gap) - gap}px`;
  const area = sheet(canvas);
  if (!area) return () => -1;
  grades.forEach((grade, index) => {
    area.pen.fillStyle = colours[grade];
    area.pen.beginPath();
    area.pen.roundRect((index % columns) * (side + gap), Math.floor(index / columns) * (side + gap), side, side, 3);
    area.pen.fill();
  });
  return (left, top) => Math.floor(top / (side + gap)) * columns + Math.floor(left / (side + gap));
}
