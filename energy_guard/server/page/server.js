// The server's interface. The key is kept here, in memory, and nowhere else.

let key = "";

/** What the server says when it refuses; `status` is that of HTTP. */
export class Refused extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Show this key from now on. A header takes no characters, so it has the bytes of the key's UTF-8. */
export function useKey(text) {
  key = String.fromCharCode(...new TextEncoder().encode(text));
}

function headers() {
  const shown = key ? { authorization: `Bearer ${key}` } : {};
  return { "content-type": "application/json", ...shown };
}

/** What comes over the network; browsers tell of one that fails by a TypeError. */
async function reached(coming) {
  try {
    return await coming;
  } catch (error) {
    if (error instanceof TypeError) throw new Refused("the server cannot be reached");
    throw error;
  }
}

async function asked(path, options) {
  const response = await reached(fetch(path, { headers: headers(), ...options }));
  if (response.ok) return response;
  let message = `the server answered with status ${response.status}`;
  if ((response.headers.get("content-type") ?? "").startsWith("application/json")) {
    message = (await response.json()).error?.message ?? message;
  }
  throw new Refused(message, response.status);
}

/** The name of the model; Refused with status 401 if a key is missing or wrong. */
export async function modelName() {
  const response = await asked("/v1/models");
  return (await response.json()).data[0].id;
}

/**
 * Ask, and yield the chunks of the stream to its end.
 * Refused if the server says no, at the beginning or in between, or if the stream breaks off.
 */
export async function* chunks(body, signal) {
  const options = { method: "POST", body: JSON.stringify(body), signal };
  const response = await asked("/v1/chat/completions", options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reached(reader.read());
    if (done) throw new Refused("the stream broke off before its end");
    waiting += value;
    const events = waiting.split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue; // a comment keeps the line open
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(chunk.error.message);
      yield chunk;
    }
  }
}
