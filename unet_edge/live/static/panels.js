/* What the server says, as text and bars on the page. */

import { drawShares, listShares, percent } from "./plot.js";

const FEWER_FRAMES = 0.9; // this page's rate over the camera's, below which the page says so

const byId = (id) => document.getElementById(id);

/** Set an element's text only when it changes, so that nothing is laid out again for nothing. */
export function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Show a line of text, or hide it when there is none. */
export function setLine(id, text) {
  byId(id).hidden = !text;
  setText(id, text ?? "");
}

const count = (number) => number.toLocaleString("en");
// Large figures have room for six digits: 1.2M from then on.
const short = (number) =>
  number < 100_000 ? count(number) : number.toLocaleString("en", { notation: "compact" });
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

const wholePercent = (share) =>
  share > 0 && share < 0.005 ? "under 1 %" : `${Math.round(100 * share)} %`;

/** An agreement as the commands print it: three decimals, rounded down; 100 only if all agree. */
function agreement(share) {
  if (share === null) return "–";
  if (share >= 1) return "100 %";
  return `${(Math.min(Math.floor(share * 100_000 + 1e-6), 99_999) / 1000).toFixed(3)} %`;
}

/** Show rate, delay and stages: of a frame's header, or of the state. */
export function showSpeed({ rate, delay_ms: delay, stages_ms: stages }) {
  setText("rate", rate === null ? "–" : rate.toFixed(1));
  setText("delay", delay === null ? "–" : milliseconds(delay));
  const entries = Object.entries(stages ?? {});
  const body = byId("stages");
  if (entries.map(([name]) => name).join() !== body.dataset.names) {
    body.dataset.names = entries.map(([name]) => name).join();
    body.replaceChildren(...entries.map(([name]) => stageRow(name)));
  }
  const total = entries.reduce((sum, [, ms]) => sum + ms, 0) || 1;
  entries.forEach(([, ms], index) => {
    const [bar, value] = [...body.rows[index].cells].slice(-2);
    // Through the CSSOM, since the policy of the page forbids style attributes.
    bar.firstChild.style.width = `${(100 * ms) / total}%`;
    value.textContent = milliseconds(ms);
  });
}

function stageRow(name) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  const bar = document.createElement("td");
  bar.className = "bar";
  bar.append(document.createElement("i"));
  row.append(head, bar, document.createElement("td"));
  return row;
}

/** Say how many frames this page draws where that is fewer than the camera gives. */
export function showPageRate(drawn, rate) {
  const slower = rate !== null && drawn !== null && drawn < FEWER_FRAMES * rate;
  setLine("shown-rate", slower ? `This page draws ${drawn.toFixed(1)} of them; the network or the browser is slower.` : null);
}

/** Show everything of the state but the picture and the list of classes. */
export function showState(state) {
  const { source, model } = state;
  document.title = `${source.name} – unet-edge live`;
  setText("source", source.name);
  setText("size", source.size ? `${source.size[0]}x${source.size[1]} px` : "–");
  setText("policy", source.policy === "latest" ? "the newest; older ones are dropped" : "every one");
  setText("frames", count(state.frames));
  setText("version", state.version);
  const read = state.frames + state.dropped;
  setText("dropped", short(state.dropped));
  setText("dropped-part", read ? wholePercent(state.dropped / read) : "");
  setLine("damaged", state.damaged ? `${count(state.damaged)} damaged frames were left out.` : null);
  const { temperature, throttling } = state;
  setText("temperature", temperature === null ? "not known here" : `${temperature.toFixed(1)} °C`);
  setLine("throttling", throttling?.length ? `The board is throttled: ${throttling.join(", ")}.` : null);
  showModel(model);
}

function showModel(model) {
  const used = model.files.find(({ name }) => name === model.file);
  setText("model-file", model.file);
  setText("agreement", agreement(used?.agreement ?? null));
  setText("interpreter", model.interpreter);
  setText("bundle", model.bundle);
  const select = byId("file");
  const names = JSON.stringify(model.files);
  if (select.dataset.files !== names) {
    select.dataset.files = names;
    select.replaceChildren(...model.files.map(fileOption));
    select.disabled = model.files.length < 2;
    select.dataset.used = "";
  }
  // Another page may have changed the file.
  if (select.dataset.used !== model.file && select.ariaBusy !== "true") {
    select.dataset.used = model.file;
    select.value = model.file;
  }
}

function fileOption(file) {
  const notes = [];
  if (file.agreement !== null) notes.push(agreement(file.agreement));
  if (!file.kept_floor) notes.push("below its floor");
  if (!file.runs) notes.push("does not run here");
  const option = document.createElement("option");
  option.value = file.name;
  option.textContent = [file.name, ...notes].join(" · ");
  option.disabled = !file.runs;
  return option;
}

/** List the classes, each with a checkbox; `changed` is called after one was switched. */
export function listClasses(classes, changed) {
  byId("classes-empty").hidden = classes.length > 0;
  byId("classes").replaceChildren(
    ...classes.map((each, index) => {
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = each.shown;
      box.addEventListener("change", () => {
        each.shown = box.checked;
        changed();
      });
      const swatch = document.createElement("i");
      swatch.style.backgroundColor = each.css;
      const name = document.createElement("span");
      name.id = `class-${index}`;
      name.textContent = each.name;
      box.setAttribute("aria-labelledby", name.id);
      const share = document.createElement("span");
      share.className = "value";
      share.textContent = "–";
      const label = document.createElement("label");
      label.append(box, swatch, name, share);
      const item = document.createElement("li");
      item.append(label);
      return item;
    }),
  );
}

/** Show the share of each class now. */
export function showShares(shares) {
  document.querySelectorAll("#classes .value").forEach((value, index) => {
    value.textContent = percent(shares[index]);
  });
}

/** Draw the last minute, as lines and as a table. */
export function showHistory(history, classes) {
  drawShares(byId("plot"), history, classes);
  listShares(byId("shares"), history, classes);
}

/** Describe the picture for those who do not see it. */
export function describePicture(classes, shares, view) {
  const parts = classes.map(({ name }, index) => `${name} ${percent(shares[index])}`);
  const what = { overlay: "Camera picture with masks", mask: "Masks", picture: "Camera picture" };
  byId("picture").setAttribute("aria-label", `${what[view]}: ${parts.join(", ")}`);
}

/** Seconds as minutes and seconds: 1:05. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
