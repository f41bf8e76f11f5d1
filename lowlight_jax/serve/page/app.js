// The page: photographs are opened, looked at, computed in full size and saved.

import * as api from "./api.js";
import { Settings } from "./settings.js";
import { LANGUAGE, fillTexts, text } from "./texts.js";
import { Viewer } from "./viewer.js";

const FINE_AFTER_MS = 350; // that nothing moved
const AT_ONCE = 2; // photographs in the server's queue
const SAMPLES = ["coffee", "cat", "rocket"];
const MASK_PX = 1024; // longest side
const STORED = "photographs";

const find = (selector) => document.querySelector(selector);
const state = { shots: [], current: null, limits: null };
let settings, viewer;

// What is told

function tell(sentence) {
  find("#live").textContent = sentence;
}

function warn(sentence) {
  find("#message-text").textContent = sentence;
  find("#message").hidden = false;
}

function about(shot, error) {
  if (error.name === "AbortError") return;
  const sentence = error.status ? error.message : (error.message ?? String(error));
  warn(text("errors.one", { name: shot.name, sentence }));
}

// Photographs. A shot has `name`, `file` (while the page is open), `upload` (once the
// server has it), `values` (settings), `job` (in progress), `result` (of which values).

function newShot(name, file) {
  const values = state.current
    ? { ...state.current.values }
    : settings.defaults();
  return { name, file, values, upload: null, job: null, result: null, mask: null };
}

function open(files) {
  const pictures = [...files];
  if (!pictures.length) return;
  find("#message").hidden = true;
  let first = null;
  for (const file of pictures) {
    const name = file.name || "pasted.png";
    if (file.size > state.limits.max_bytes) {
      const megabytes = Math.floor(state.limits.max_bytes / 1e6);
      warn(text("errors.tooLarge", { name, megabytes }));
      continue;
    }
    const shot = newShot(name, file);
    state.shots.push(shot);
    drawThumbnail(shot, file);
    first ??= shot;
  }
  if (first) select(first);
}

async function drawThumbnail(shot, source) {
  shot.thumbnail = document.createElement("canvas");
  Object.assign(shot.thumbnail, { width: 184, height: 136 });
  showStrip();
  try {
    const image = await createImageBitmap(source);
    const { width, height } = shot.thumbnail;
    const scale = Math.max(width / image.width, height / image.height);
    const size = [image.width * scale, image.height * scale];
    const place = [(width - size[0]) / 2, (height - size[1]) / 2];
    shot.thumbnail.getContext("2d").drawImage(image, ...place, ...size);
    if (image !== source) image.close();
    shot.hasThumbnail = true;
  } catch {
    // a kind that the browser does not show: its preview will do
  }
}

/** Uploads a shot, once. */
function upload(shot) {
  shot.uploading ??= (async () => {
    try {
      if (!shot.file) throw new api.ApiError(404, text("errors.gone", { name: shot.name }));
      shot.upload = await api.addPicture(shot.file, shot.name);
      for (const note of shot.upload.notes) {
        tell(text("errors.one", { name: shot.name, sentence: note }));
      }
      if (shot.mask) await sendMask(shot);
    } finally {
      shot.uploading = null;
      store();
    }
  })();
  return shot.uploading;
}

/** Calls with the id of the shot's upload; where the server has deleted it, again. */
async function withUpload(shot, use) {
  if (!shot.upload) await upload(shot);
  try {
    return await use(shot.upload.id);
  } catch (error) {
    if (error.status !== 404 || !shot.file) throw error;
    shot.upload = null;
    await upload(shot);
    return use(shot.upload.id);
  }
}

async function select(shot) {
  state.current = shot;
  document.body.dataset.preview = "coming";
  document.body.classList.remove("is-empty");
  find("#welcome").hidden = true;
  find("#editor").hidden = false;
  settings.show(shot.values);
  find("#photo-name").textContent = shot.name;
  find("#facts").textContent = "";
  viewer.size = null;
  viewer.draw();
  showStrip();
  showJob();
  busy(text("uploading"));
  try {
    if (!shot.upload) await upload(shot);
    if (shot !== state.current) return;
    const before = await withUpload(shot, (id) => api.getPreview(id, original(shot)));
    if (shot !== state.current) return;
    const { width, height } = shot.upload;
    shot.mask ??= newMask(width, height);
    viewer.open(width, height, null);
    viewer.show("before", before);
    if (!shot.hasThumbnail) drawThumbnail(shot, before);
    const megapixels = ((width * height) / 1e6).toFixed(1);
    find("#facts").textContent = text("facts", { width, height, megapixels });
    find("#canvas").setAttribute("aria-label", text("canvas", { name: shot.name }));
    showBrush();
    store();
    preview();
  } catch (error) {
    if (shot === state.current) busy("");
    about(shot, error);
    remove(shot);
  }
}

function remove(shot) {
  stop(shot);
  if (shot.upload) api.dropPicture(shot.upload.id).catch(() => {});
  const index = state.shots.indexOf(shot);
  state.shots.splice(index, 1);
  if (shot === state.current) {
    const next = state.shots[Math.min(index, state.shots.length - 1)];
    state.current = null;
    if (next) select(next);
    else welcome();
  }
  showStrip();
  store();
}

function welcome() {
  document.body.classList.add("is-empty");
  find("#welcome").hidden = false;
  find("#editor").hidden = true;
}

function showStrip() {
  const strip = find("#strip");
  const focused = strip.contains(document.activeElement)
    ? document.activeElement.dataset.key
    : null;
  strip.replaceChildren(...state.shots.map(stripItem));
  find("#strip-box").hidden = !state.shots.length;
  const many = state.shots.length > 1;
  find("#all-alike").hidden = !many;
  find("#download-all").hidden = !many;
  const done = state.shots.filter((shot) => isReady(shot)).length;
  const count = state.shots.length;
  find("#download-all").textContent = state.isSavingAll
    ? text("allProgress", { done, count })
    : text("downloadAll", { count });
  find("#download-all").disabled = Boolean(state.isSavingAll);
  if (focused) strip.querySelector(`[data-key="${focused}"]`)?.focus();
}

function stripItem(shot, index) {
  const item = document.createElement("li");
  item.className = "shot";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "shot-select";
  button.dataset.key = `select-${index}`;
  const kind = shot.job ? "busy" : isReady(shot) ? "done" : "idle";
  const mark = text(`states.${kind}`);
  button.setAttribute("aria-label", mark ? `${shot.name}, ${mark}` : shot.name);
  if (shot === state.current) button.setAttribute("aria-current", "true");
  if (shot.thumbnail) button.append(shot.thumbnail);
  button.addEventListener("click", () => shot === state.current || select(shot));
  const cross = document.createElement("button");
  cross.type = "button";
  cross.className = "shot-remove";
  cross.dataset.key = `remove-${index}`;
  cross.setAttribute("aria-label", text("remove", { name: shot.name }));
  cross.innerHTML = '<svg aria-hidden="true"><use href="icons.svg#close"></use></svg>';
  cross.addEventListener("click", () => remove(shot));
  item.append(button);
  if (shot.job) {
    shot.bar = document.createElement("progress");
    Object.assign(shot.bar, { className: "shot-bar", max: 1, value: shot.job.fraction });
    shot.bar.setAttribute("aria-label", text("progress"));
    item.append(shot.bar);
  } else if (mark) {
    const label = document.createElement("span");
    label.className = "shot-mark";
    label.textContent = mark;
    item.append(label);
  }
  item.append(cross);
  return item;
}

// Previews: one request at a time; what changes meanwhile is asked for once it is back.
// When nothing moves any more, a finer one follows.

// `whole` tells of what settings the whole picture is shown, behind a part of it.

const previews = { wanted: false, running: false, timer: 0, fine: null, whole: "" };

function wholeKey(shot) {
  return `${shot.upload?.id} ${settings.query(shot.values)}`;
}

function preview() {
  clearTimeout(previews.timer);
  previews.fine?.abort();
  previews.wanted = true;
  if (!previews.running) makePreviews();
}

async function makePreviews() {
  previews.running = true;
  document.body.dataset.preview = "coming"; // for tests
  busy(text("preparing"));
  while (previews.wanted) {
    previews.wanted = false;
    await showPreview("after", { fast: true });
  }
  previews.running = false;
  document.body.dataset.preview = "there";
  busy("");
  scheduleFine();
}

function scheduleFine() {
  clearTimeout(previews.timer);
  previews.timer = setTimeout(showFine, FINE_AFTER_MS);
}

async function showFine() {
  if (previews.running || !state.current || !viewer.size) return;
  previews.fine?.abort();
  previews.fine = new AbortController();
  const { signal } = previews.fine;
  if (viewer.needsDetail() && viewer.view()) {
    await showPreview("before", { signal });
  }
  if (!signal.aborted) await showPreview("after", { signal });
  if (!signal.aborted && previews.whole !== wholeKey(state.current)) {
    await showPreview("after", { signal, whole: true });
  }
}

async function showPreview(name, { fast = false, whole = false, signal } = {}) {
  const shot = state.current;
  if (!shot?.upload || !viewer.size) return;
  const view = !whole && viewer.needsDetail() ? viewer.view() : null;
  const key = wholeKey(shot);
  const query = name === "before" ? original(shot) : settings.query(shot.values);
  if (view) query.set("view", view.join(","));
  if (fast) query.set("fast", "1");
  try {
    const ask = (id) => api.getPreview(id, query, signal);
    const image = await withUpload(shot, ask);
    if (shot !== state.current || signal?.aborted) return image.close();
    if (!view && fast) viewer.forgetDetail(name);
    viewer.show(name, image, view);
    if (!view && name === "after") previews.whole = key;
    viewer.method = shot.values.model;
  } catch (error) {
    if (error.status === 409 || error.name === "AbortError") return;
    if (settings.needsMask && error.status === 422) {
      viewer.show(name, viewer.images.before);
      viewer.forgetDetail(name);
      tell(text("brushHint"));
    } else about(shot, error);
  }
}

function original(shot) {
  return new URLSearchParams({ model: shot.values.model, strength: 0 });
}

function busy(sentence) {
  clearTimeout(state.busyTimer);
  find("#busy-text").textContent = sentence;
  if (!sentence) find("#busy").hidden = true;
  // What is quick needs no sign.
  else state.busyTimer = setTimeout(() => (find("#busy").hidden = false), 400);
}

// The mask of what is to be repaired

function newMask(width, height) {
  const scale = Math.min(1, MASK_PX / Math.max(width, height));
  const mask = document.createElement("canvas");
  mask.width = Math.max(1, Math.round(width * scale));
  mask.height = Math.max(1, Math.round(height * scale));
  return mask;
}

function showBrush() {
  const repairing = settings.needsMask;
  find("#brush-bar").hidden = !repairing;
  find("#stage").classList.toggle("is-repairing", repairing);
  viewer.mask = repairing ? state.current?.mask : null;
  if (repairing !== Boolean(viewer.tool)) useTool(repairing ? "paint" : null);
}

function useTool(tool) {
  viewer.setTool(tool);
  for (const name of ["paint", "erase"]) {
    find(`#brush-${name}`).setAttribute("aria-pressed", String(tool === name));
  }
  find("#brush-move").setAttribute("aria-pressed", String(tool === null));
}

async function sendMask(shot) {
  // White on black: what is half transparent at the brush's edge has no colour.
  const flat = document.createElement("canvas");
  Object.assign(flat, { width: shot.mask.width, height: shot.mask.height });
  const context = flat.getContext("2d");
  context.drawImage(shot.mask, 0, 0);
  for (const [mode, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
    context.globalCompositeOperation = mode;
    context.fillStyle = colour;
    context.fillRect(0, 0, flat.width, flat.height);
  }
  const blob = await new Promise((resolve) => flat.toBlob(resolve, "image/png"));
  await api.setMask(shot.upload.id, blob);
}

async function maskChanged() {
  const shot = state.current;
  try {
    shot.result = null;
    previews.whole = "";
    await withUpload(shot, () => sendMask(shot));
    preview();
  } catch (error) {
    about(shot, error);
  }
}

// In full size

function resultKey(shot) {
  return `${settings.query(shot.values)}&${shot.values.format}`;
}

function isReady(shot) {
  return shot.result?.key === resultKey(shot);
}

/** Computes a shot unless that is done; resolves with whether its result is there. */
async function enhance(shot) {
  if (isReady(shot) && (await api.getJob(shot.result.id).then(() => true, () => false))) {
    return true;
  }
  const key = resultKey(shot);
  const job = { stage: "uploading", fraction: 0, abort: new AbortController() };
  shot.job = job;
  showJob();
  showStrip();
  try {
    const query = settings.query(shot.values);
    query.set("format", shot.values.format);
    query.set("name", shot.name);
    const { signal } = job.abort;
    // What is not looked at needs no upload of its own.
    const added =
      shot.upload || !shot.file
        ? await withUpload(shot, (id) => {
            query.set("picture", id);
            return api.addJob(query, null, signal);
          })
        : await api.addJob(query, shot.file, signal);
    return await follow(shot, added.id, key);
  } catch (error) {
    about(shot, error);
    return false;
  } finally {
    if (shot.job === job) endJob(shot);
  }
}

async function follow(shot, id, key) {
  const job = (shot.job ??= { abort: new AbortController(), fraction: 0 });
  Object.assign(job, { id, key });
  if (job.abort.signal.aborted) {
    api.dropJob(id);
    return false;
  }
  store();
  const last = await api.followJob(id, (status) => {
    job.stage = status.state === "queued" ? "queued" : status.stage;
    Object.assign(job, { fraction: status.fraction, ahead: status.ahead });
    showProgress(shot);
  });
  if (last.state === "failed") throw new api.ApiError(422, last.error);
  if (last.state !== "done") return false;
  shot.result = { id, key };
  if (last.notes.length) warn(text("errors.one", { name: shot.name, sentence: last.notes.join(" ") }));
  tell(text("saved", { name: last.name }));
  return true;
}

function endJob(shot) {
  shot.job = null;
  showJob();
  showStrip();
  store();
}

function stop(shot) {
  if (!shot.job) return;
  shot.job.abort.abort();
  if (shot.job.id) api.dropJob(shot.job.id);
  tell(text("cancelled"));
  endJob(shot);
}

function showJob() {
  const job = state.current?.job;
  find("#job").hidden = !job;
  find("#download").hidden = Boolean(job);
  find("#download-text").textContent = text("download");
  if (job) showProgress(state.current);
}

function showProgress(shot) {
  const { job } = shot;
  if (!job) return;
  if (shot.bar) shot.bar.value = job.fraction;
  if (shot !== state.current) return;
  find("#progress").value = job.fraction;
  const percent = Math.round(100 * job.fraction);
  const values = { percent, ahead: job.ahead };
  find("#job-text").textContent = text(`stages.${job.stage}`, values);
}

async function download() {
  const shot = state.current;
  if (await enhance(shot)) api.save(`api/jobs/${shot.result.id}/result`);
}

async function downloadAll() {
  state.isSavingAll = true;
  const shots = [...state.shots];
  const waiting = [...shots];
  const work = async () => {
    while (waiting.length) {
      await enhance(waiting.shift());
      showStrip();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  state.isSavingAll = false;
  showStrip();
  const query = new URLSearchParams();
  for (const shot of shots) if (isReady(shot)) query.append("job", shot.result.id);
  if (query.size) api.save(`api/results.zip?${query}`);
}

// Over a reload: what the server has is found again, and a job goes on

function store() {
  const kept = state.shots
    .filter((shot) => shot.upload)
    .map(({ name, upload, values, result, job }) => ({
      name,
      upload,
      values,
      result,
      job: job?.id ? { id: job.id, key: job.key } : null,
      isCurrent: upload.id === state.current?.upload?.id,
    }));
  sessionStorage.setItem(STORED, JSON.stringify(kept));
}

async function restore() {
  const kept = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
  let current = null;
  for (const { job, isCurrent, ...rest } of kept) {
    const isThere = await api.getPicture(rest.upload.id).then(() => true, () => false);
    if (!isThere) continue;
    const shot = { ...rest, file: null, mask: null, job: null };
    state.shots.push(shot);
    if (isCurrent || !current) current = shot;
    api
      .getPreview(shot.upload.id, original(shot))
      .then((image) => drawThumbnail(shot, image), () => {});
    if (job) resume(shot, job);
  }
  if (current) await select(current);
}

async function resume(shot, { id, key }) {
  try {
    if (await follow(shot, id, key)) api.save(`api/jobs/${id}/result`);
  } catch (error) {
    about(shot, error);
  } finally {
    endJob(shot);
  }
}

// The page itself

function listen() {
  const click = (selector, does) => find(selector).addEventListener("click", does);
  click("#choose", () => find("#files").click());
  click("#add", () => find("#files").click());
  click("#photograph", () => find("#camera").click());
  for (const input of [find("#files"), find("#camera")]) {
    input.addEventListener("change", () => {
      open(input.files);
      input.value = "";
    });
  }
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData.files;
    if (files.length) open(files);
    else warn(text("errors.noImage"));
  });
  let depth = 0; // of elements that a file is dragged over
  const over = (step) => {
    depth = Math.max(0, depth + step);
    document.body.classList.toggle("is-over", depth > 0);
  };
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    if (event.dataTransfer.files.length) open(event.dataTransfer.files);
    else warn(text("errors.noImage"));
  });
  click("#theme", () => {
    const style = document.documentElement.style;
    const isDark = style.colorScheme
      ? style.colorScheme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    setTheme(isDark ? "light" : "dark");
  });
  click("#message-close", () => (find("#message").hidden = true));
  click("#reset", () => {
    settings.reset();
    tell(text("resetDone"));
  });
  click("#all-alike", () => {
    for (const shot of state.shots) Object.assign(shot.values, state.current.values);
    showStrip();
    tell(text("allAlikeDone"));
    store();
  });
  click("#download", download);
  click("#download-all", downloadAll);
  click("#cancel", () => stop(state.current));
  click("#zoom-in", () => viewer.zoom(1.5));
  click("#zoom-out", () => viewer.zoom(1 / 1.5));
  click("#zoom-level", () => (viewer.isFitted ? viewer.zoomToPixels() : viewer.fit()));
  click("#brush-paint", () => useTool("paint"));
  click("#brush-erase", () => useTool("erase"));
  click("#brush-move", () => useTool(null));
  click("#brush-clear", () => viewer.clearMask());
  find("#brush-size").addEventListener("input", (event) => {
    viewer.brushPx = Number(event.target.value);
  });
}

function setTheme(theme) {
  document.documentElement.style.colorScheme = theme;
  localStorage.setItem("theme", theme);
}

function showSamples() {
  for (const name of SAMPLES) {
    const shown = text(`sampleNames.${name}`);
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "sample" });
    button.setAttribute("aria-label", text("sampleOpen", { name: shown }));
    const image = document.createElement("img");
    Object.assign(image, { src: `samples/${name}_card.jpg`, alt: "" });
    const label = document.createElement("span");
    label.textContent = shown;
    button.append(image, label);
    button.addEventListener("click", async () => {
      const blob = await (await fetch(`samples/${name}.jpg`)).blob();
      open([new File([blob], `${name}.jpg`, { type: blob.type })]);
    });
    const item = document.createElement("li");
    item.append(button);
    find("#samples").append(item);
  }
}

function viewChanged() {
  find("#zoom-level").textContent = viewer.isFitted
    ? text("zoomFit")
    : text("percent", { value: viewer.zoomPercent });
  const { current } = state;
  if (!current || !viewer.images.before) return;
  if (viewer.needsDetail() || previews.whole !== wholeKey(current)) scheduleFine();
}

function splitMoved(split) {
  const handle = find("#handle");
  const percent = Math.round(100 * split);
  handle.setAttribute("aria-valuenow", percent);
  handle.setAttribute("aria-valuetext", text("compareValue", { percent }));
}

async function start() {
  document.documentElement.lang = LANGUAGE;
  document.title = text("title");
  fillTexts(document);
  const theme = localStorage.getItem("theme");
  if (theme) setTheme(theme);
  showSamples();
  viewer = new Viewer(find("#stage"), {
    onView: viewChanged,
    onMask: maskChanged,
    onSplit: splitMoved,
  });
  try {
    const { models, limits } = await api.getModels();
    state.limits = limits;
    settings = new Settings({
      models,
      onChange: () => {
        showBrush();
        if (viewer.method !== settings.values.model) viewer.show("after", null);
        showStrip();
        preview();
        store();
      },
    });
  } catch (error) {
    warn(error.message);
    return;
  }
  listen();
  document.body.dataset.ready = "true"; // for tests
  await restore();
}

start();
