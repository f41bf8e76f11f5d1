// The panel: the method, six sliders, the format. One set of settings per photograph.

import { text } from "./texts.js";

const ORDER = ["exposure", "shadows", "denoise", "saturation", "unsharp", "strength"];

export class Settings {
  /** `models` as the API describes them; `onChange` is told of every move. */
  constructor({ models, onChange }) {
    this.models = models;
    this.onChange = onChange;
    this.model = document.querySelector("#model");
    this.about = document.querySelector("#model-about");
    this.format = document.querySelector("#format");
    this.inputs = {};
    for (const { name } of models) {
      this.model.add(new Option(text(`models.${name}.name`) || name, name));
    }
    for (const name of ["original", "jpg", "png", "webp", "avif", "tif"]) {
      this.format.add(new Option(text(`formats.${name}`), name));
    }
    for (const name of ORDER) this.addSlider(name);
    this.model.addEventListener("change", () => {
      this.values.model = this.model.value;
      this.show(this.values);
      this.onChange();
    });
    this.format.addEventListener("change", () => {
      this.values.format = this.format.value;
      this.onChange();
    });
    this.show(this.defaults());
  }

  addSlider(name) {
    const box = document.createElement("div");
    box.className = "slider";
    const label = document.createElement("label");
    label.htmlFor = name;
    label.textContent = text(`controls.${name}`);
    const output = document.createElement("output");
    output.htmlFor = name;
    label.append(" ", output);
    const input = document.createElement("input");
    Object.assign(input, { type: "range", id: name });
    box.append(label, input);
    document.querySelector("#sliders").append(box);
    input.addEventListener("input", () => {
      this.values[name] = Number(input.value);
      this.paint(name);
      this.onChange();
    });
    input.addEventListener("dblclick", () => {
      this.values[name] = this.controlsOf(this.values.model)[name].default;
      this.paint(name);
      this.onChange();
    });
    this.inputs[name] = { box, input, output };
  }

  modelOf(name) {
    return this.models.find((model) => model.name === name);
  }

  controlsOf(model) {
    return this.modelOf(model).controls;
  }

  get needsMask() {
    return this.modelOf(this.values.model).needs_mask;
  }

  /** Those of a new photograph. */
  defaults() {
    const values = { model: this.models[0].name, format: "original" };
    for (const model of this.models) {
      for (const [name, range] of Object.entries(model.controls)) {
        values[name] ??= range.default;
      }
    }
    return values;
  }

  /** All but the method back to its default. */
  reset() {
    const { model, format } = this.values;
    Object.assign(this.values, this.defaults(), { model, format });
    this.show(this.values);
    this.onChange();
  }

  /** Edits these values from now on. */
  show(values) {
    this.values = values;
    this.model.value = values.model;
    this.format.value = values.format;
    this.about.textContent =
      text(`models.${values.model}.about`) || this.modelOf(values.model).about;
    const controls = this.controlsOf(values.model);
    for (const [name, { box, input }] of Object.entries(this.inputs)) {
      const range = controls[name];
      box.hidden = !range;
      if (!range) continue;
      Object.assign(input, { min: range.lowest, max: range.highest, step: 0.01 });
      this.paint(name);
    }
  }

  paint(name) {
    const { input, output } = this.inputs[name];
    const value = this.values[name];
    input.value = value;
    const sign = value > 0 ? "+" : "";
    const shown =
      name === "exposure"
        ? text("stops", { value: sign + value.toFixed(2) })
        : text("percent", { value: Math.round(100 * value) });
    output.textContent = shown;
    input.setAttribute("aria-valuetext", shown);
    const done = (value - input.min) / (input.max - input.min);
    input.style.setProperty("--done", `${100 * done}%`);
  }

  /** The parameters of a request: those that the method has. */
  query(values) {
    const query = new URLSearchParams({ model: values.model });
    for (const name of Object.keys(this.controlsOf(values.model))) {
      query.set(name, values[name]);
    }
    return query;
  }
}
