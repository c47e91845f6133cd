/* The shares of classes over the last minute: lines, a sentence, and a table. */

const SVG = "http://www.w3.org/2000/svg";
const SECONDS = 60;
const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]; // tops of the vertical axis
const GAP = 3; // seconds without a point, which break a line
const MARGIN = { left: 46, right: 10, top: 12, bottom: 26 };

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/**
 * Draw `history`, a list of [seconds ago, [share of each class]], for the classes that are shown.
 *
 * `classes` is a list of {name, css, shown}.
 */
export function drawShares(svg, history, classes) {
  const shown = classes.map((each, index) => ({ ...each, index })).filter((each) => each.shown);
  const points = [...history].sort((a, b) => b[0] - a[0]);
  const width = Math.max(240, svg.clientWidth);
  const height = svg.height.baseVal.value;
  const highest = Math.max(0, ...points.flatMap(([, shares]) => shown.map((c) => shares[c.index])));
  const top = STEPS.find((step) => step >= highest) ?? 1;
  const x = (ago) => MARGIN.left + (1 - ago / SECONDS) * (width - MARGIN.left - MARGIN.right);
  const y = (share) => height - MARGIN.bottom - (share / top) * (height - MARGIN.top - MARGIN.bottom);

  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const drawn = [];
  for (const part of [0, 0.5, 1]) {
    const at = y(part * top);
    drawn.push(line(x(SECONDS), at, x(0), at));
    drawn.push(text(MARGIN.left - 6, at + 4, axisLabel(part * top), "end"));
  }
  for (const [ago, label, anchor] of [[60, "60 s ago", "start"], [30, "30 s", "middle"], [0, "now", "end"]]) {
    drawn.push(text(x(ago), height - 6, label, anchor));
  }
  for (const each of shown) {
    const path = pathOf(points, each.index, x, y);
    // A casing in the colour of text, because a class may have the colour of the ground.
    drawn.push(element("path", { d: path, class: "casing" }));
    drawn.push(element("path", { d: path, class: "share", stroke: each.css }));
  }
  svg.replaceChildren(...drawn);
  svg.setAttribute("aria-label", sentence(points, shown));
}

function axisLabel(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

function pathOf(points, index, x, y) {
  let path = "";
  let before = Infinity;
  for (const [ago, shares] of points) {
    const move = before - ago > GAP ? "M" : "L";
    path += `${move}${x(Math.min(ago, SECONDS)).toFixed(1)} ${y(shares[index]).toFixed(1)}`;
    before = ago;
  }
  return path;
}

/** Fill the table's rows: each class' share now, lowest, mean and highest. */
export function listShares(body, history, classes) {
  body.replaceChildren(
    ...classes.map(({ name }, index) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      for (const value of Object.values(summary(history, index))) {
        row.insertCell().textContent = value === null ? "–" : percent(value);
      }
      return row;
    }),
  );
}

function summary(history, index) {
  if (history.length === 0) return { now: null, lowest: null, mean: null, highest: null };
  const newest = history.reduce((best, point) => (point[0] < best[0] ? point : best));
  const values = history.map(([, shares]) => shares[index]);
  return {
    now: newest[1][index],
    lowest: Math.min(...values),
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
    highest: Math.max(...values),
  };
}

function sentence(points, shown) {
  if (points.length === 0) return "No shares yet";
  const parts = shown.map(({ name, index }) => {
    const { now, lowest, highest } = summary(points, index);
    return `${name} ${percent(now)} now, between ${percent(lowest)} and ${percent(highest)}`;
  });
  return `Share of the picture over the last minute: ${parts.join("; ") || "no class is shown"}`;
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const line = (x1, y1, x2, y2) => element("line", { x1, y1, x2, y2, class: "grid" });

function text(x, y, content, anchor) {
  const made = element("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}
