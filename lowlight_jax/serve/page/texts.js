// Every text of the page, in one place: for another language, translate this file.

export const LANGUAGE = "en";

export const TEXTS = {
  title: "Lowlight: light for dark photographs",
  brand: "Lowlight",
  home: "Lowlight, start again",
  headline: "Light for your dark photographs",
  lead: "Compare before and after, adjust by eye, and download in full size.",
  drop: "Drop photographs here",
  dropTouch: "Open a photograph",
  choose: "Choose photos",
  photograph: "Take a photo",
  dropHint: "or paste one. JPEG, PNG, WebP, AVIF, TIFF or BMP.",
  dropHintTouch: "JPEG, PNG, WebP, AVIF, TIFF or BMP.",
  dropHere: "Drop to open",
  samples: "Or try one of ours",
  private: "Photographs stay with this server, and are deleted after 30 minutes.",
  add: "Add photos",
  theme: "Switch between light and dark",
  close: "Close",
  editor: "Photograph",
  settings: "Settings",
  photos: "Your photographs",
  before: "Before",
  after: "After",
  compare: "Compare before and after",
  compareValue: "{percent} % before",
  canvas: "{name}, before and after",
  canvasHelp:
    "Plus and minus zoom, 0 fits, 1 shows actual pixels, arrow keys move the picture. " +
    "While repairing, arrow keys move the brush and space paints.",
  zoom: "Zoom",
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  zoomLevel: "Fit or actual pixels",
  zoomFit: "Fit",
  brush: "Brush",
  brushPaint: "Paint",
  brushErase: "Erase",
  brushMove: "Move",
  brushSize: "Size",
  brushClear: "Clear",
  brushHint: "Paint over what is to be repaired.",
  model: "Method",
  // Name and a line; of a network that is not here, what the server says of it.
  models: {
    dual_global_photo: {
      name: "Everyday photos",
      about: "Opens shadows and backlit scenes, leaves what is well exposed alone.",
    },
    dual_global: {
      name: "Night, by the scene",
      about: "For very dark photos; judges how bright the whole scene should be.",
    },
    dual: {
      name: "Night, by the pixel",
      about: "For very dark photos; lifts each place by what is around it.",
    },
    cnn: {
      name: "Night, plain",
      about: "For very dark photos; the simplest network, without denoising.",
    },
    inpaint: {
      name: "Repair",
      about: "Fills what you paint over: scratches, dust, holes. Black holes by itself.",
    },
  },
  controls: {
    exposure: "Exposure",
    shadows: "Shadows",
    denoise: "Denoise",
    saturation: "Saturation",
    unsharp: "Sharpness",
    strength: "Strength",
  },
  stops: "{value} EV",
  percent: "{value} %",
  reset: "Reset",
  resetDone: "All settings are back to their defaults.",
  allAlike: "Apply to all",
  allAlikeDone: "All photographs have these settings now.",
  format: "Save as",
  formats: {
    original: "Same as the original",
    jpg: "JPEG",
    png: "PNG",
    webp: "WebP",
    avif: "AVIF",
    tif: "TIFF",
  },
  facts: "{width} × {height}, {megapixels} MP",
  download: "Download",
  downloadAll: "Download all {count} as zip",
  cancel: "Cancel",
  progress: "Progress",
  cancelled: "Cancelled.",
  saved: "{name} is ready.",
  uploading: "Opening …",
  preparing: "Preparing …",
  stages: {
    uploading: "Uploading",
    queued: "Waiting, {ahead} before it",
    reading: "Reading",
    computing: "Enhancing, {percent} %",
    writing: "Saving",
  },
  allProgress: "{done} of {count} enhanced",
  remove: "Remove {name}",
  states: { done: "enhanced", busy: "in progress", idle: "" },
  sampleNames: { coffee: "Coffee", cat: "Cat", rocket: "Rocket" },
  sampleOpen: "Open the sample {name}",
  errors: {
    offline: "The server cannot be reached; is it still running?",
    tooLarge: "{name} is larger than {megabytes} MB, the limit of this server.",
    gone: "{name} was deleted on the server; add it again.",
    noImage: "There is no picture in what was pasted or dropped.",
    one: "{name}: {sentence}",
  },
};

/** The text of a key such as "stages.reading", with {names} replaced. */
export function text(key, values = {}) {
  const found = key.split(".").reduce((part, name) => part?.[name], TEXTS);
  return String(found ?? "").replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Fills everything below an element that asks for a text. */
export function fillTexts(root) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
}
