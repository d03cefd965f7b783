// The gateway as the page sees it: requests with the key, and the socket of those who watch.

const KEPT = "comfybridge-key";
const PATIENCE_MS = 10000;
const PATIENCE_OF_ACTS_MS = 60000; // thousands of jobs may be cancelled at once
const AGAIN_MS = [1000, 2000, 4000, 8000];

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** As the page was told when it was loaded. */
export const isKeyNeeded = () => document.body.dataset.key === "needed";

export const key = {
  get: () => sessionStorage.getItem(KEPT) || "",
  set: (value) => (value ? sessionStorage.setItem(KEPT, value) : sessionStorage.removeItem(KEPT)),
};

/** Below the page's own address, so that a proxy may serve all of it under a path. */
const address = (path) => new URL(path, document.baseURI);

/** Ask; throws Refused for an answer that is none, TypeError or a timeout when nobody answers. */
export async function ask(path, { body, as } = {}) {
  const bearer = as ?? key.get();
  const headers = { "X-Requested-With": "XMLHttpRequest", ...(bearer && { Authorization: `Bearer ${bearer}` }) };
  const answer = await fetch(address(path), {
    method: body ? "POST" : "GET",
    headers: body ? { ...headers, "Content-Type": "application/json" } : headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(body ? PATIENCE_OF_ACTS_MS : PATIENCE_MS),
  });
  const text = await answer.text();
  let told = null;
  try {
    told = JSON.parse(text);
  } catch {
    // An error page of a proxy, or a plain sentence.
  }
  if (!answer.ok || told === null) {
    const message = told?.error?.message || (typeof told?.error === "string" ? told.error : text.slice(0, 200));
    throw new Refused(answer.ok ? 502 : answer.status, message || answer.statusText);
  }
  return told;
}

/** Open while the page is looked at; ``hear`` gets frames and previews, ``onState`` whether it is open. */
export class Watching {
  constructor(hear, onState) {
    this.hear = hear;
    this.onState = onState;
    this.tries = 0;
    this.wanted = false;
  }

  start() {
    if (this.wanted) return;
    this.wanted = true;
    this.open();
  }

  stop() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = null;
  }

  /** The gateway answers again: no need to wait any longer. */
  hurry() {
    if (this.wanted && !this.socket) {
      clearTimeout(this.timer);
      this.open();
    }
  }

  open() {
    const url = address("comfybridge/ws");
    url.protocol = url.protocol.replace("http", "ws");
    if (key.get()) url.searchParams.set("token", key.get());
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.tries = 0;
      this.onState(true);
    };
    socket.onmessage = ({ data }) => this.hear(typeof data === "string" ? JSON.parse(data) : preview(data));
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.onState(false);
      if (!this.wanted) return;
      this.timer = setTimeout(() => this.open(), AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)]);
    };
  }
}

/** ComfyUI's binary frame with metadata: two numbers, JSON, the picture. */
function preview(data) {
  const length = new DataView(data).getUint32(4);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length)));
  return { type: "preview", data: { prompt_id: about.prompt_id, picture: new Blob([new Uint8Array(data, 8 + length)], { type: about.image_type }) } };
}
