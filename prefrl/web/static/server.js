// Asking the server, and what its reply means for whoever asked.

const PATIENCE = 10_000; // ms until a server that says nothing counts as away
const LATER = new Set([408, 421, 425, 429]); // refusals of the moment: the same words may be accepted soon

/** The run that the first reply came from: another run may be served at the same address later, with other pairs. */
export let run = null;

/**
 * {verdict, said, detail}; the verdict is "done", "refused" (for good), "forbidden" (a token is missing),
 * "moved" (another run is served here now), "busy" (the server is in trouble) or "away".
 */
export async function call(path, body) {
  let reply;
  let said;
  try {
    reply = await fetch(path, {
      method: body ? "POST" : "GET",
      headers: { ...(body && { "content-type": "application/json" }), ...(run && { "prefrl-run": run }) },
      body: body && JSON.stringify(body),
      keepalive: Boolean(body), // an answer that is under way when the page closes arrives all the same
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    said = await reply.json().catch(() => null);
  } catch {
    return { verdict: "away", detail: "the server does not answer" };
  }
  const from = reply.headers.get("prefrl-run");
  if (run && from && from !== run) return { verdict: "moved", detail: "another run is labelled at this address now" };
  if (reply.ok && said !== null) {
    run ??= from;
    return { verdict: "done", said, detail: "" };
  }
  return { verdict: meaning(reply.status, said), detail: told(said) ?? `the server says ${reply.status}` };
}

/** A refusal counts only in the words of this server: a proxy's page for a server that is down is none. */
function meaning(status, said) {
  if (status === 401 || status === 403) return "forbidden";
  if (status >= 400 && status < 500 && !LATER.has(status) && said && "detail" in said) return "refused";
  return "busy";
}

function told(said) {
  const detail = said?.detail;
  return typeof detail === "string" ? detail : detail?.[0]?.msg;
}

export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // plain http from another machine has only this
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** 1 s, 2 s, 4 s ... 15 s after so many failures, a little more for some pages than for others. */
export function pause(failures) {
  return Math.min(500 * 2 ** failures, 15_000) * (0.9 + 0.2 * Math.random());
}
