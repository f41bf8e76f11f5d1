// The server's API; every failure is an error whose message is one sentence.

import { text } from "./texts.js";

export class ApiError extends Error {
  constructor(status, sentence, retryS = 0) {
    super(sentence);
    this.status = status;
    this.retryS = retryS;
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, text("errors.offline"));
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const retryS = Number(response.headers.get("Retry-After"));
  throw new ApiError(response.status, body.error ?? response.statusText, retryS);
}

export async function getModels() {
  return (await call("api/models")).json();
}

export async function addPicture(file, name) {
  const query = new URLSearchParams({ name });
  return (await call(`api/pictures?${query}`, { method: "POST", body: file })).json();
}

export async function getPicture(id) {
  return (await call(`api/pictures/${id}`)).json();
}

export function dropPicture(id) {
  return call(`api/pictures/${id}`, { method: "DELETE" });
}

export function setMask(id, blob) {
  return call(`api/pictures/${id}/mask`, { method: "PUT", body: blob });
}

export async function getPreview(id, query, signal) {
  const response = await call(`api/pictures/${id}/preview?${query}`, { signal });
  return createImageBitmap(await response.blob());
}

/** Queues a photograph; waits its turn where the server's queue is full. */
export async function addJob(query, body, signal) {
  for (;;) {
    try {
      const options = { method: "POST", body, signal };
      return await (await call(`api/jobs?${query}`, options)).json();
    } catch (error) {
      if (error.status !== 429 || signal.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryS || 2)));
    }
  }
}

export async function getJob(id) {
  return (await call(`api/jobs/${id}`)).json();
}

export function dropJob(id) {
  return call(`api/jobs/${id}`, { method: "DELETE" }).catch(() => {});
}

/** Tells the job's progress until it ends; resolves with its last status. */
export function followJob(id, onProgress) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`api/jobs/${id}/events`);
    const end = (event) => {
      source.close();
      resolve(JSON.parse(event.data));
    };
    source.addEventListener("progress", (event) => onProgress(JSON.parse(event.data)));
    for (const name of ["done", "failed", "cancelled"]) {
      source.addEventListener(name, end);
    }
    source.onerror = async () => {
      if (source.readyState !== EventSource.CLOSED) return; // it tries again itself
      await getJob(id).then(
        () => reject(new ApiError(0, text("errors.offline"))),
        reject,
      );
    };
  });
}

/** Saves what an address of this server answers with, under the name it tells. */
export function save(address) {
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  document.body.append(link);
  link.click();
  link.remove();
}
