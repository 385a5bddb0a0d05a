/* Reads typed server-sent events from the body of a response, which EventSource cannot do for a POST. */

/** Each event of the stream as `{name, data}`; comments, which are heartbeats, are passed over. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value.replaceAll("\r", "");
      const frames = rest.split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        const event = parsed(frame);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // already broken off
  }
}

function parsed(frame) {
  let name = "message";
  const data = [];
  for (const line of frame.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
