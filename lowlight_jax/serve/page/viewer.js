// The photograph on its stage: before and after, zoom and pan, and the mask brush.

const MOST_SCALE = 8; // screen pixels of one of the picture
const MOST_FITTED_SCALE = 2; // a small picture is not blown up further
const BRUSH_COLOUR = "rgb(255 60 90)";

export class Viewer {
  /**
   * `onView` is told when another part is looked at, `onMask` when the mask changed,
   * `onSplit` where the divider is, 0 to 1.
   */
  constructor(stage, { onView, onMask, onSplit }) {
    this.stage = stage;
    this.canvas = stage.querySelector("canvas");
    this.handle = stage.querySelector(".handle");
    this.tags = stage.querySelectorAll(".tag");
    this.context = this.canvas.getContext("2d");
    Object.assign(this, { onView, onMask, onSplit });
    this.size = null; // width and height of the picture
    this.images = {}; // of all of it, by "before" and "after"
    this.detail = {}; // of a part
    this.split = 0.5;
    this.isFitted = true;
    this.centre = [0.5, 0.5]; // of the stage, in the picture
    this.scale = 1; // CSS pixels of one of the picture
    this.mask = null;
    this.tool = null; // null, "paint" or "erase"
    this.brushPx = 28;
    this.brushAt = null; // in CSS pixels
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(stage);
    this.listen();
  }

  /** Shows another picture; images follow. */
  open(width, height, mask) {
    this.size = [width, height];
    const shown = new Set([...Object.values(this.images), ...this.details()]);
    this.images = {};
    this.detail = {};
    for (const image of shown) image?.close();
    this.mask = mask;
    this.fit();
  }

  /** `name` is "before" or "after"; with a view, it is of that part alone. */
  show(name, image, view = null) {
    const before = view ? this.detail[name]?.image : this.images[name];
    if (view) this.detail[name] = { image, view };
    else this.images[name] = image;
    // Their memory is not the script's, so that it would be collected late.
    if (!Object.values(this.images).includes(before) && before !== image) before?.close();
    this.draw();
  }

  details() {
    return Object.values(this.detail).map(({ image }) => image);
  }

  /** What is shown of parts does not hold any more. */
  forgetDetail(name) {
    this.detail[name]?.image.close();
    delete this.detail[name];
  }

  /** The visible part, [top, left, bottom, right], or null for all of it. */
  view() {
    if (this.isFitted || !this.size) return null;
    const [left, top] = this.toPicture(0, 0);
    const [right, bottom] = this.toPicture(this.width, this.height);
    const clamp = (value) => Math.min(Math.max(value, 0), 1);
    const view = [clamp(top), clamp(left), clamp(bottom), clamp(right)];
    const isAll = view[0] + view[1] === 0 && view[2] + view[3] === 2;
    return isAll ? null : view.map((end) => Number(end.toFixed(5)));
  }

  /** Whether the whole picture's preview has too few pixels for the zoom. */
  needsDetail() {
    const base = this.images?.before;
    const pixels = this.scale * devicePixelRatio * (this.size?.[0] ?? 0);
    return Boolean(base) && base.width < this.size[0] && pixels > 1.1 * base.width;
  }

  // Geometry

  get width() {
    return this.stage.clientWidth;
  }

  get height() {
    return this.stage.clientHeight;
  }

  get fittedScale() {
    const fitting = Math.min(this.width / this.size[0], this.height / this.size[1]);
    return Math.min(fitting, MOST_FITTED_SCALE / devicePixelRatio);
  }

  /** Left, top, width and height of the picture on the stage. */
  rectangle() {
    const [w, h] = this.size.map((side) => side * this.scale);
    return [this.width / 2 - this.centre[0] * w, this.height / 2 - this.centre[1] * h, w, h];
  }

  /** From the stage into the picture, 0 to 1. */
  toPicture(x, y) {
    const [left, top, w, h] = this.rectangle();
    return [(x - left) / w, (y - top) / h];
  }

  /** Where the divider is on the stage. */
  dividerX() {
    const [left, , w] = this.rectangle();
    const start = Math.max(left, 0);
    return start + this.split * (Math.min(left + w, this.width) - start);
  }

  fit() {
    this.isFitted = true;
    this.centre = [0.5, 0.5];
    this.resize();
  }

  resize() {
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    if (!this.size) return;
    if (this.isFitted) this.scale = this.fittedScale;
    this.moved();
  }

  /** Zooms by a factor around a point of the stage, by default its centre. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    if (!this.size) return;
    const at = this.toPicture(x, y);
    const fitted = this.fittedScale;
    const least = Math.min(fitted, 1 / devicePixelRatio);
    const most = Math.max(MOST_SCALE / devicePixelRatio, fitted);
    this.scale = Math.min(Math.max(this.scale * factor, least), most);
    this.isFitted = Math.abs(this.scale / fitted - 1) < 0.001;
    const [w, h] = this.size.map((side) => side * this.scale);
    this.centre = [at[0] - (x - this.width / 2) / w, at[1] - (y - this.height / 2) / h];
    this.moved();
  }

  /** Zooms so that a pixel of the picture is one of the screen. */
  zoomToPixels(x, y) {
    this.zoom(1 / (devicePixelRatio * this.scale), x, y);
  }

  get zoomPercent() {
    return Math.round(100 * this.scale * devicePixelRatio);
  }

  pan(dx, dy) {
    this.centre[0] -= dx / (this.size[0] * this.scale);
    this.centre[1] -= dy / (this.size[1] * this.scale);
    this.moved();
  }

  moved() {
    // The picture stays on the stage.
    const sides = [this.width, this.height];
    for (const axis of [0, 1]) {
      const half = Math.min(sides[axis] / (2 * this.size[axis] * this.scale), 0.5);
      this.centre[axis] = Math.min(Math.max(this.centre[axis], half), 1 - half);
    }
    this.draw();
    this.onView();
  }

  setSplit(split) {
    this.split = Math.min(Math.max(split, 0), 1);
    this.draw();
  }

  // Drawing

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = null;
      this.drawNow();
    });
  }

  drawNow() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const isBare = !this.size || !this.images.before;
    this.stage.classList.toggle("is-bare", isBare);
    if (isBare) return;
    context.scale(devicePixelRatio, devicePixelRatio);
    context.imageSmoothingEnabled = this.scale * devicePixelRatio < 3;
    context.imageSmoothingQuality = "high";
    const [left, top, w, h] = this.rectangle();
    const x = this.dividerX();
    this.drawSide("after", x, this.width - x);
    this.drawSide("before", 0, x);
    if (this.mask) {
      context.globalAlpha = 0.55;
      context.drawImage(this.mask, left, top, w, h);
      context.globalAlpha = 1;
      this.drawBrush();
    }
    this.handle.style.left = `${x}px`;
    this.handle.style.top = `${Math.max(top, 0)}px`;
    this.handle.style.height = `${Math.min(top + h, this.height) - Math.max(top, 0)}px`;
    this.tags[0].classList.toggle("is-away", x < 90);
    this.tags[1].classList.toggle("is-away", x > this.width - 80);
    this.onSplit(this.split);
  }

  drawSide(name, from, width) {
    const { context } = this;
    const [left, top, w, h] = this.rectangle();
    context.save();
    context.beginPath();
    context.rect(from, 0, width, this.height);
    context.clip();
    context.drawImage(this.images[name] ?? this.images.before, left, top, w, h);
    const detail = this.detail[name];
    if (detail) {
      const [t, l, b, r] = detail.view;
      const place = [left + l * w, top + t * h, (r - l) * w, (b - t) * h];
      context.drawImage(detail.image, ...place);
    }
    context.restore();
  }

  drawBrush() {
    if (!this.tool || !this.brushAt) return;
    const { context } = this;
    for (const [width, colour] of [[3, "#000"], [1.5, "#fff"]]) {
      context.beginPath();
      context.arc(...this.brushAt, this.brushPx / 2, 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  // The brush

  setTool(tool) {
    this.tool = tool;
    this.canvas.classList.toggle("is-painting", Boolean(tool));
    this.draw();
  }

  clearMask() {
    this.mask.getContext("2d").clearRect(0, 0, this.mask.width, this.mask.height);
    this.draw();
    this.onMask();
  }

  paint(from, to) {
    const context = this.mask.getContext("2d");
    const [w, h] = [this.mask.width, this.mask.height];
    const ends = [from, to].map((end) => this.toPicture(...end));
    context.globalCompositeOperation =
      this.tool === "erase" ? "destination-out" : "source-over";
    context.strokeStyle = BRUSH_COLOUR;
    context.lineCap = "round";
    context.lineWidth = (this.brushPx / (this.size[0] * this.scale)) * w;
    context.beginPath();
    context.moveTo(ends[0][0] * w, ends[0][1] * h);
    context.lineTo(ends[1][0] * w + 0.01, ends[1][1] * h);
    context.stroke();
    this.draw();
  }

  // Pointers and keys

  listen() {
    const { canvas, handle } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.release(event));
    }
    canvas.addEventListener("pointerleave", () => this.moveBrush(null));
    canvas.addEventListener("dblclick", (event) => {
      if (this.tool) return;
      if (this.isFitted) this.zoomToPixels(...this.at(event));
      else this.fit();
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const step = event.deltaMode ? 30 * event.deltaY : event.deltaY;
        this.zoom(Math.exp(-step / 400), ...this.at(event));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => this.key(event));
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus({ focusVisible: false });
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) this.splitAt(this.at(event)[0]);
    });
    handle.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowUp: 0.02 };
      const ends = { Home: 0, End: 1, PageDown: this.split - 0.1, PageUp: this.split + 0.1 };
      const split = ends[event.key] ?? this.split + (steps[event.key] ?? NaN);
      if (Number.isNaN(split)) return;
      event.preventDefault();
      this.setSplit(split);
    });
  }

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  splitAt(x) {
    const [left, , w] = this.rectangle();
    const start = Math.max(left, 0);
    this.setSplit((x - start) / (Math.min(left + w, this.width) - start));
  }

  press(event) {
    if (!this.size || event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.canvas.classList.add("is-panning");
    if (this.tool && this.pointers.size === 1) {
      this.moveBrush(this.at(event));
      this.paint(this.at(event), this.at(event));
    }
  }

  drag(event) {
    const now = this.at(event);
    if (this.tool) this.moveBrush(now);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 1) {
      if (this.tool) this.paint(before, now);
      else if (this.isFitted) this.splitAt(now[0]);
      else this.pan(now[0] - before[0], now[1] - before[1]);
    } else if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId)[0].slice(1);
      const distance = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
      this.zoom(distance(now) / Math.max(distance(before), 1), ...other);
    }
    this.pointers.set(event.pointerId, now);
  }

  release(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.canvas.classList.remove("is-panning");
    if (this.tool && !this.pointers.size) this.onMask();
  }

  moveBrush(at) {
    if (!this.tool) return;
    this.brushAt = at;
    this.draw();
  }

  key(event) {
    if (!this.size || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const arrow = arrows[event.key];
    if (this.tool && (arrow || event.key === " ")) {
      const from = this.brushAt ?? [this.width / 2, this.height / 2];
      const step = event.shiftKey ? 4 : this.brushPx / 3;
      const to = arrow ? [from[0] - step * arrow[0], from[1] - step * arrow[1]] : from;
      this.moveBrush(to);
      if (event.key === " ") {
        this.paint(to, to);
        this.onMask();
      }
    } else if (arrow) this.pan(60 * arrow[0], 60 * arrow[1]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else if (event.key === "0") this.fit();
    else if (event.key === "1") this.zoomToPixels();
    else return;
    event.preventDefault();
  }
}
