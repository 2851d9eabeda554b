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

async function checked(response) {
  if (response.ok) return response;
  let message = `the server answered with status ${response.status}`;
  if ((response.headers.get("content-type") ?? "").startsWith("application/json")) {
    message = (await response.json()).error?.message ?? message;
  }
  throw new Refused(message, response.status);
}

/** The name of the model; Refused with status 401 if a key is missing or wrong. */
export async function modelName() {
  const response = await checked(await fetch("/v1/models", { headers: headers() }));
  return (await response.json()).data[0].id;
}

/**
 * Ask, and yield the chunks of the stream to its end.
 * Refused if the server says no, at the beginning or in between, or if the stream breaks off.
 */
export async function* chunks(body, signal) {
  const asked = { method: "POST", headers: headers(), body: JSON.stringify(body), signal };
  const response = await checked(await fetch("/v1/chat/completions", asked));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
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
