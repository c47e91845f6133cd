/* The live page: pulls frames and the state, draws them, and sends what is asked for. */

import { connectKeys, connectLook, look, setClasses } from "./look.js";
import * as panels from "./panels.js";
import { draw } from "./picture.js";
import * as server from "./server.js";

const FIRST_PAUSE = 500; // ms before the first new attempt to connect; each next pause is twice as long
const LONGEST_PAUSE = 10_000;
const STATE_EVERY = 1000; // ms
const FIGURES_EVERY = 250; // ms; faster, nobody can read them
const RATE_OVER = 3000; // ms over which this page's own rate is averaged

const byId = (id) => document.getElementById(id);
const canvas = byId("picture");

let link = "connecting"; // connecting, up, down, token
let known = null; // the newest state
let shown = null; // the frame on the canvas
let after = -1; // frames up to this sequence were drawn
let pulling = new AbortController();
let orders = 0; // how many answers to orders came; an older state must not undo them

/* Connection */

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let wake = () => {};

/** Wait, until the time is over or somebody wakes us; `tick` gets the seconds left. */
async function pauseFor(ms, tick) {
  let woken = false;
  const called = new Promise((resolve) => {
    wake = () => {
      woken = true;
      resolve();
    };
  });
  for (let left = ms; left > 0 && !woken; left -= 1000) {
    tick(Math.ceil(left / 1000));
    await Promise.race([sleep(Math.min(left, 1000)), called]);
  }
}

function untilVisible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  }).then(untilVisible);
}

/** Pull frame after frame, one request at a time: a slow page slows only itself. */
async function watchFrames() {
  let pause = FIRST_PAUSE;
  let drawn = Promise.resolve();
  for (;;) {
    await untilVisible();
    pulling = new AbortController();
    try {
      const packed = await server.frame(after, pulling.signal);
      pause = FIRST_PAUSE;
      setLink("up");
      // Without a frame, ask for the current one: its number may be lower after a restart.
      after = packed ? packed.header.sequence : -1;
      await drawn; // the frame before, while this one was on its way
      if (packed) drawn = show(packed);
    } catch (error) {
      if (error.name === "AbortError") continue;
      after = -1;
      if (error.status === 401) {
        await askForToken();
        continue;
      }
      setLink("down");
      await pauseFor(pause, (left) =>
        showBanner("No connection.", `${reason(error)}Trying again in ${left} s.`),
      );
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }
}

const reason = (error) => (error instanceof server.Refused ? `${sentence(error)} ` : "");

async function watchState() {
  for (;;) {
    await untilVisible();
    if (link !== "token") await refresh();
    await sleep(STATE_EVERY);
  }
}

async function refresh() {
  const before = orders;
  try {
    const state = await server.state();
    if (before === orders) apply(state);
  } catch (error) {
    // The frame loop says that there is no connection. It may wait for a server that is gone.
    if (error instanceof server.Unreachable && link === "up" && !document.hidden) pulling.abort();
  }
}

function setLink(now) {
  if (now === link) return;
  link = now;
  if (now === "up") refresh();
  showStatus();
}

/* Token */

let given = null; // a promise that is kept once there is a token

function askForToken() {
  given ??= new Promise((resolve) => {
    setLink("token");
    const dialog = byId("token-dialog");
    const refused = byId("token").value !== "";
    panels.setLine("token-error", refused ? "The server did not accept this token." : null);
    byId("token").value = "";
    if (!dialog.open) dialog.showModal();
    byId("token-form").onsubmit = (event) => {
      event.preventDefault();
      server.keepToken(byId("token").value);
      given = null;
      dialog.close();
      resolve();
    };
    // Without a token nothing here works. Browsers let Escape close a dialog in the end.
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => given && dialog.showModal();
    window.onhashchange = () => {
      if (!server.takeToken()) return;
      given = null;
      dialog.close();
      resolve();
    };
  });
  return given;
}

/* Frames */

let figuresAt = 0;
const drawnAt = [];

async function show(packed) {
  try {
    const frame = await server.unpack(packed);
    shown?.picture.close();
    shown = frame;
    redraw();
  } catch (error) {
    notify(`A frame cannot be shown: ${error.message}`, "error");
    return;
  }
  const now = performance.now();
  drawnAt.push(now);
  while (drawnAt[0] < now - RATE_OVER) drawnAt.shift();
  if (now - figuresAt < FIGURES_EVERY) return;
  figuresAt = now;
  const { header } = shown;
  panels.showSpeed(header);
  const drawing = drawnAt.length > 2 ? (1000 * (drawnAt.length - 1)) / (now - drawnAt[0]) : null;
  panels.showPageRate(drawing, header.rate);
  if (look.classes.length !== header.shares.length) return;
  panels.showShares(header.shares);
  if (drawnAt.length === 1) describe();
}

const describe = () => panels.describePicture(look.classes, shown.header.shares, look.view);

/** Draw the frame again, as the controls say. */
function redraw() {
  if (!shown || look.classes.length === 0) return;
  draw(canvas, shown, look);
  // For tests and scripts: which frame this is.
  const { sequence, index, model_file: file } = shown.header;
  Object.assign(canvas.dataset, { sequence, index, file });
}

/* State */

function apply(state) {
  const classesBefore = JSON.stringify(known?.model.classes);
  const failure = state.recording_error;
  if (known && failure && failure !== known.recording_error) {
    notify(`The recording ended: ${failure}`, "error");
  }
  known = state;
  panels.showState(state);
  if (JSON.stringify(state.model.classes) !== classesBefore) {
    setClasses(state.model.classes, state.model.has_background);
    panels.listClasses(look.classes, changedLook);
    redraw();
  }
  if (!shown) {
    panels.showSpeed(state);
    if (state.source.size) [canvas.width, canvas.height] = state.source.size;
  }
  panels.showHistory(state.history, look.classes);
  if (shown?.header.shares.length === look.classes.length) describe();
  showActions();
  showStatus();
}

function changedLook() {
  redraw();
  if (known) panels.showHistory(known.history, look.classes);
}

const STATUS = {
  running: ["Running", "", ""],
  reconnecting: ["Reconnecting", "The source is gone.", "It continues when the source is back."],
  stopped: ["Stopped", "Stopped.", "The camera is free for other programs."],
  ended: ["Ended", "The source has ended.", ""],
  failed: ["Failed", "The source failed.", ""],
};

let told = "";

function showStatus() {
  const status = link === "up" && known ? known.source.status : link;
  const [word, title, text] = STATUS[status] ?? LINK[status];
  byId("status").dataset.status = status;
  byId("status").lastElementChild.textContent = word;
  if (link === "up") {
    const waiting = status === "running" && !shown;
    if (waiting) showBanner("Waiting for the first frame.", "");
    else if (title) showBanner(title, known.source.message ?? text);
    else byId("banner").hidden = true;
  }
  const now = `${word}. ${known?.source.message ?? ""}`.trim();
  if (told !== now) {
    told = now;
    panels.setText("announcer", now);
  }
}

const LINK = {
  connecting: ["Connecting"],
  up: ["Connected", ""],
  down: ["No connection"],
  token: ["Token needed"],
};

function showBanner(title, text) {
  panels.setText("banner-title", title);
  panels.setText("banner-text", text);
  byId("try-now").hidden = link !== "down";
  byId("banner").hidden = false;
}

function showActions() {
  const { source, recording } = known;
  byId("run").textContent = isRunning(source) ? "Stop" : "Start";
  byId("run").disabled = false; // before the first state, a click could not be carried out
  byId("record").hidden = !known.can_record;
  byId("record").textContent = recording ? `End recording ${panels.clock(recording.seconds)}` : "Record";
  byId("record").classList.toggle("recording", recording !== null);
}

const isRunning = ({ status }) => status === "running" || status === "reconnecting";

/* Orders */

/** Do what a control asks for; a second click while it is done does nothing. */
async function order(control, doing) {
  if (control.ariaBusy === "true") return;
  control.ariaBusy = "true";
  try {
    await doing();
  } catch (error) {
    if (error.status === 401) await askForToken();
    else notify(sentence(error), "error");
  } finally {
    control.ariaBusy = "false";
  }
}

function sentence(error) {
  if (error instanceof server.Unreachable) return "The server did not answer.";
  const found = /[.!?]$/.test(error.message) ? error.message : `${error.message}.`;
  return `${found[0].toUpperCase()}${found.slice(1)}${error.fix ? ` Fix: ${error.fix}` : ""}`;
}

function accept(state) {
  orders += 1;
  apply(state);
}

const startOrStop = () =>
  order(byId("run"), async () => {
    if (known) accept(await server.setRunning(!isRunning(known.source)));
  });

const takeSnapshot = () =>
  order(byId("snapshot"), async () => {
    const { name, blob } = await server.snapshot();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the download reads it later
    notify(`Snapshot: ${name}`, "done");
  });

const startOrEndRecording = () =>
  order(byId("record"), async () => {
    if (!known?.can_record) return;
    const { recording } = known;
    const state = await server.setRecording(recording === null);
    accept(state);
    if (recording && !state.recording_error) notify(`Recorded ${panels.clock(recording.seconds)} into ${recording.file}`, "done");
  });

let wanted = null; // the file chosen last; arrow keys in the list choose one after another

async function changeFile() {
  const select = byId("file");
  wanted = select.value;
  await order(select, async () => {
    while (wanted !== known.model.file) {
      const file = wanted;
      panels.setLine("file-progress", `Opening ${file} …`);
      try {
        accept(await server.useFile(file));
      } catch (error) {
        if (wanted === file) throw error;
      }
      if (wanted === file) break;
    }
    notify(`The model file is ${known.model.file}.`, "done");
  });
  panels.setLine("file-progress", null);
  if (select.ariaBusy !== "true") select.value = known.model.file;
}

/* Notices */

let noticeTimer = 0;

function notify(text, kind) {
  clearTimeout(noticeTimer);
  panels.setText("notice-text", text);
  panels.setText("announcer", text);
  byId("notice").dataset.kind = kind;
  byId("notice").hidden = false;
  if (kind === "done") noticeTimer = setTimeout(() => (byId("notice").hidden = true), 8000);
}

/* Start */

function connectControls() {
  const keys = connectLook(changedLook);
  byId("run").addEventListener("click", startOrStop);
  byId("snapshot").addEventListener("click", takeSnapshot);
  byId("record").addEventListener("click", startOrEndRecording);
  byId("file").addEventListener("change", changeFile);
  byId("notice-dismiss").addEventListener("click", () => (byId("notice").hidden = true));
  byId("try-now").addEventListener("click", () => wake());
  window.addEventListener("online", () => wake());
  window.addEventListener("resize", () => known && panels.showHistory(known.history, look.classes));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return;
    after = -1;
    pulling.abort();
  });
  connectKeys({
    ...keys,
    " ": startOrStop,
    s: takeSnapshot,
    r: startOrEndRecording,
    digit: (number) => document.querySelectorAll("#classes input")[number - 1]?.click(),
  });
}

function start() {
  server.takeToken();
  connectControls();
  if (typeof DecompressionStream === "undefined") {
    showBanner("This browser is too old.", "The page needs Chrome 80, Firefox 113 or Safari 16.4.");
    return;
  }
  watchFrames();
  watchState();
}

start();
