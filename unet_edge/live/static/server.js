/* Requests to the server: the token, JSON, files, and frames. */

const TOKEN_KEY = "unet-edge-token";

/** The server did not answer: no network, a stopped server, or no answer in time. */
export class Unreachable extends Error {}

/** The server answered with an error. `status` is HTTP's, `message` says what was found. */
export class Refused extends Error {
  constructor(status, message, fix) {
    super(message);
    this.status = status;
    this.fix = fix;
  }
}

/** Keep the token of the address' fragment for this tab, and remove it from the address bar. */
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found === null) return false;
  keepToken(found);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

let token = null; // for browsers that refuse sessionStorage

export function keepToken(text) {
  token = text.trim();
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // Then a reload asks for it again.
  }
}

function storedToken() {
  try {
    return token ?? sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return token;
  }
}

/**
 * Send a request and read the complete answer: {status, headers, buffer}.
 *
 * `timeout` is in ms and includes the body. `signal` aborts the request, which then raises
 * AbortError. Raises Unreachable or Refused.
 */
async function send(method, path, { json, timeout = 10_000, signal } = {}) {
  const headers = {};
  const known = storedToken();
  if (known) headers.Authorization = `Bearer ${known}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), timeout);
  const stop = () => late.abort();
  signal?.addEventListener("abort", stop);
  let answer, buffer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: json === undefined ? undefined : JSON.stringify(json),
      cache: "no-store",
      signal: late.signal,
    });
    buffer = await answer.arrayBuffer();
  } catch (error) {
    if (signal?.aborted) throw new DOMException("aborted by the page", "AbortError");
    throw new Unreachable(error.message);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
  if (!answer.ok) throw refusal(answer, buffer);
  return { status: answer.status, headers: answer.headers, buffer };
}

function refusal(answer, buffer) {
  let told = {};
  try {
    told = JSON.parse(new TextDecoder().decode(buffer));
  } catch {
    // A proxy answers with a page of its own.
  }
  const message = told.error ?? `the server answered ${answer.status} ${answer.statusText}`.trim();
  return new Refused(answer.status, message, told.fix ?? null);
}

async function sendForJson(method, path, options) {
  const { buffer } = await send(method, path, options);
  return JSON.parse(new TextDecoder().decode(buffer));
}

export const state = (signal) => sendForJson("GET", "api/state", { timeout: 5_000, signal });

// Opening a large model takes seconds on a Raspberry Pi.
export const useFile = (file) =>
  sendForJson("POST", "api/model", { json: { file }, timeout: 120_000 });

export const setRunning = (running) =>
  sendForJson("POST", "api/stream", { json: { running }, timeout: 30_000 });

export const setRecording = (on) =>
  sendForJson("POST", "api/recording", { json: { on }, timeout: 30_000 });

/** Take a snapshot: {name, blob} of its ZIP file. */
export async function snapshot() {
  const { headers, buffer } = await send("POST", "api/snapshot", { timeout: 60_000 });
  const name = /filename="?([^";]+)"?/.exec(headers.get("Content-Disposition") ?? "");
  return { name: name?.[1] ?? "unet-edge.zip", blob: new Blob([buffer], { type: "application/zip" }) };
}

/**
 * The newest frame after `sequence`, or null when none came within the server's 10 seconds.
 *
 * It is {header, picture, labels}, both as bytes; see `unpack`.
 */
export async function frame(sequence, signal) {
  // The server answers after 10 s at the latest; the rest is for a slow network.
  const path = `api/frame?after=${sequence}`;
  const { status, buffer } = await send("GET", path, { timeout: 20_000, signal });
  if (status === 204) return null;
  const start = 4 + new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, start - 4)));
  const { bytes } = header.picture;
  const picture = new Uint8Array(buffer, start, bytes);
  return { header, picture, labels: new Uint8Array(buffer, start + bytes, header.labels.bytes) };
}

/** Decode a frame: `picture` an ImageBitmap, `labels` the classes on the grid, row after row. */
export async function unpack({ header, picture, labels }) {
  const [bitmap, cells] = await Promise.all([
    createImageBitmap(new Blob([picture], { type: header.picture.type })),
    inflate(labels),
  ]);
  const [columns, rows] = header.grid;
  if (cells.length !== columns * rows) {
    throw new Error(`${cells.length} labels on a grid of ${columns}x${rows}`);
  }
  return { header, picture: bitmap, labels: cells };
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
