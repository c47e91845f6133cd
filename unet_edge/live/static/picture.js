/* The picture with its masks on a canvas, exact to the pixel. */

/**
 * Draw a frame. The canvas gets the size of the picture.
 *
 * `look` is {view, style, opacity, classes}: view "overlay", "mask" or "picture"; style "fill" or
 * "outlines"; opacity 0..1; classes a list of {color: [r, g, b], shown}.
 */
export function draw(canvas, frame, look) {
  const [width, height] = frame.header.size;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  if (look.view !== "mask") context.drawImage(frame.picture, 0, 0, width, height);
  if (look.view === "picture") return;
  const mask = maskPixels(frame, look);
  // putImageData replaces pixels and does not blend them, so the mask has a canvas of its own.
  const layer = layerOf(width, height);
  layer.putImageData(mask, 0, 0);
  context.drawImage(layer.canvas, 0, 0);
}

let layer = null;

function layerOf(width, height) {
  if (layer?.canvas.width !== width || layer?.canvas.height !== height) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    layer = canvas.getContext("2d");
  }
  return layer;
}

function maskPixels(frame, look) {
  const [width, height] = frame.header.size;
  const labels = labelsOfPixels(frame);
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colors = colorTable(look);
  if (look.style === "outlines") {
    drawOutlines(pixels, labels, width, height, colors);
  } else {
    for (let i = 0; i < pixels.length; i++) pixels[i] = colors[labels[i]];
  }
  return image;
}

/** The class of each pixel: the label of the cell that holds the pixel's centre. */
export function labelsOfPixels({ header, labels }) {
  const [width, height] = header.size;
  const [columns, rows] = header.grid;
  // Integers, as Mask has them on the device; nearest-neighbour scaling of a canvas may round.
  const cell = new Uint32Array(width);
  for (let x = 0; x < width; x++) cell[x] = Math.floor(((2 * x + 1) * columns) / (2 * width));
  const pixels = new Uint8Array(width * height);
  let before = -1;
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((2 * y + 1) * rows) / (2 * height));
    const start = y * width;
    if (row === before) {
      pixels.copyWithin(start, start - width, start);
    } else {
      const cells = row * columns;
      for (let x = 0; x < width; x++) pixels[start + x] = labels[cells + cell[x]];
    }
    before = row;
  }
  return pixels;
}

/** The colour of each label as a canvas stores it; 0, which is clear, for classes not shown. */
function colorTable({ classes, opacity, view }) {
  const table = new Uint8ClampedArray(4 * 256);
  const alpha = view === "mask" ? 255 : Math.round(255 * opacity);
  classes.forEach(({ color, shown }, label) => {
    if (shown) table.set([...color, alpha], 4 * label);
  });
  return new Uint32Array(table.buffer);
}

/** The width of outlines in px: 2 at 640 px, so that they stay visible on a phone. */
export const outlineWidth = (width) => Math.max(1, Math.round(width / 320));

/** Colour pixels whose class differs from that of a pixel `outlineWidth` away, in four directions. */
function drawOutlines(pixels, labels, width, height, colors) {
  const reach = outlineWidth(width);
  for (let y = 0; y < height; y++) {
    const start = y * width;
    const above = Math.max(0, y - reach) * width;
    const below = Math.min(height - 1, y + reach) * width;
    for (let x = 0; x < width; x++) {
      const label = labels[start + x];
      if (colors[label] === 0) continue;
      if (
        labels[above + x] !== label ||
        labels[below + x] !== label ||
        labels[start + Math.max(0, x - reach)] !== label ||
        labels[start + Math.min(width - 1, x + reach)] !== label
      ) {
        pixels[start + x] = colors[label];
      }
    }
  }
}
