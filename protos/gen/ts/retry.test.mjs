// node --test: `retry` against real servers on loopback. tests/e2e/clients runs it.
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import { test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import { retry, serviceConfig } from "@workspace-management/client";
import * as identity from "@workspace-management/client/identity/v1";
import * as project from "@workspace-management/client/project/v1";
import * as storage from "@workspace-management/client/storage/v1";
import * as sync from "@workspace-management/client/sync/v1";

const { IdentityService } = identity;
const { HistoryService } = project;
const FOREVER = "1000s"; // longer than a test may take: a wait that is waited for fails

/** A server whose GetSession and WatchEvents are `answer(call, attempt)`. */
async function serving(t, answer) {
  const calls = [];
  const sockets = new Set();
  const act = (context) => {
    calls.push(context.requestHeader.get("grpc-previous-rpc-attempts"));
    return answer({ context, sockets }, calls.length);
  };
  const routes = (router) => {
    router.service(IdentityService, { getSession: async (_, context) => (await act(context)) ?? {} });
    router.service(HistoryService, {
      async *watchEvents(_, context) {
        yield { resumeToken: "first" };
        await act(context);
      },
    });
  };
  const server = http2.createServer(connectNodeAdapter({ routes }));
  server.on("connection", (socket) => sockets.add(socket.on("error", () => {})));
  server.on("sessionError", () => {}).on("session", (session) => session.on("error", () => {}));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { calls, port: server.address().port, sockets };
}

function clientOf(service, port, serviceConfig) {
  const baseUrl = `http://127.0.0.1:${port}`;
  return createClient(
    service,
    createGrpcTransport({ baseUrl, interceptors: [retry({ serviceConfig })] }),
  );
}

/** A service config for GetSession that waits for no time; `changed` differs from that. */
function policy(changed = {}) {
  return policyOf([{ service: IdentityService.typeName, method: "GetSession" }], changed);
}

function policyOf(name, changed = {}) {
  const retryPolicy = {
    maxAttempts: 4,
    initialBackoff: "0s",
    maxBackoff: FOREVER,
    backoffMultiplier: 2,
    retryableStatusCodes: ["UNAVAILABLE"],
    ...changed,
  };
  return { methodConfig: [{ name, retryPolicy }] };
}

function unavailable(metadata = {}) {
  throw new ConnectError("not now", Code.Unavailable, metadata);
}

/** The ConnectError with which a call ends. */
async function failure(call) {
  const error = await call.then(
    () => assert.fail("the call went well"),
    (reason) => reason,
  );
  assert.ok(error instanceof ConnectError, String(error));
  return error;
}

test("a call is made again until it goes well, and says how often it was made", async (t) => {
  const { calls, port } = await serving(t, (_, attempt) => attempt < 3 && unavailable());
  await clientOf(IdentityService, port, policy()).getSession({});
  assert.deepEqual(calls, [null, "1", "2"]);
});

test("the published policy is the default", async (t) => {
  const { calls, port } = await serving(t, (_, attempt) => attempt < 2 && unavailable());
  await clientOf(IdentityService, port).getSession({});
  assert.equal(calls.length, 2);
});

test("maxAttempts counts the first try", async (t) => {
  const { calls, port } = await serving(t, () => unavailable());
  const error = await failure(clientOf(IdentityService, port, policy()).getSession({}));
  assert.equal(error.code, Code.Unavailable);
  assert.equal(error.rawMessage, "not now");
  assert.equal(calls.length, 4);
});

for (const code of [Code.Aborted, Code.Canceled, Code.Internal, Code.ResourceExhausted]) {
  test(`${Code[code]} of the server is an answer`, async (t) => {
    const { calls, port } = await serving(t, () => {
      throw new ConnectError("no", code);
    });
    const error = await failure(clientOf(IdentityService, port, policy()).getSession({}));
    assert.equal(error.code, code);
    assert.equal(calls.length, 1);
  });
}

for (const [name, code] of [["CANCELLED", Code.Canceled], ["DEADLINE_EXCEEDED", Code.DeadlineExceeded]]) {
  test(`${name} is a code of service configs`, async (t) => {
    const { calls, port } = await serving(t, () => {
      throw new ConnectError("no", code);
    });
    const config = policy({ retryableStatusCodes: [name] });
    assert.equal((await failure(clientOf(IdentityService, port, config).getSession({}))).code, code);
    assert.equal(calls.length, 4);
  });
}

test("a method without a policy is called once", async (t) => {
  const { calls, port } = await serving(t, () => unavailable());
  const other = policyOf([{ service: IdentityService.typeName, method: "GetUser" }]);
  await failure(clientOf(IdentityService, port, other).getSession({}));
  assert.equal(calls.length, 1);
});

test("a policy of a service holds for methods that have none", async (t) => {
  const { calls, port } = await serving(t, () => unavailable());
  const whole = policyOf([{ service: IdentityService.typeName }]);
  await failure(clientOf(IdentityService, port, whole).getSession({}));
  assert.equal(calls.length, 4);
  const none = { name: [{ service: IdentityService.typeName, method: "GetSession" }] };
  const both = { methodConfig: [...whole.methodConfig, none] };
  await failure(clientOf(IdentityService, port, both).getSession({}));
  assert.equal(calls.length, 5);
});

test("a stream is called once, and a broken connection ends it with UNAVAILABLE", async (t) => {
  const { calls, port, sockets } = await serving(t, () => new Promise(() => {}));
  const tokens = [];
  const read = async () => {
    const client = clientOf(HistoryService, port, policyOf([{ service: HistoryService.typeName }]));
    for await (const message of client.watchEvents({})) {
      tokens.push(message.resumeToken);
      for (const socket of sockets) socket.end();
    }
  };
  assert.equal((await failure(read())).code, Code.Unavailable);
  assert.deepEqual(tokens, ["first"]);
  assert.equal(calls.length, 1);
});

test("a stream that its caller cancels ends with CANCELLED", async (t) => {
  const { port } = await serving(t, () => new Promise(() => {}));
  const cancel = new AbortController();
  const read = async () => {
    const client = clientOf(HistoryService, port);
    for await (const _ of client.watchEvents({}, { signal: cancel.signal })) cancel.abort();
  };
  assert.equal((await failure(read())).code, Code.Canceled);
});

test("the server may say when, and that there is no sense in it", async (t) => {
  const metadata = { "grpc-retry-pushback-ms": "0" };
  const { calls, port } = await serving(t, (_, attempt) => {
    if (attempt === 3) metadata["grpc-retry-pushback-ms"] = "-1";
    unavailable(metadata);
  });
  const config = policy({ initialBackoff: FOREVER });
  await failure(clientOf(IdentityService, port, config).getSession({}));
  assert.equal(calls.length, 3);
});

test("a wait ends with the deadline of the call", async (t) => {
  const { calls, port } = await serving(t, () => unavailable());
  const client = clientOf(IdentityService, port, policy({ initialBackoff: FOREVER }));
  const error = await failure(client.getSession({}, { timeoutMs: 500 }));
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.equal(calls.length, 1);
});

test("a wait ends when the caller cancels", async (t) => {
  const cancel = new AbortController();
  const { calls, port } = await serving(t, () => {
    setTimeout(() => cancel.abort(), 100);
    unavailable();
  });
  const client = clientOf(IdentityService, port, policy({ initialBackoff: FOREVER }));
  const error = await failure(client.getSession({}, { signal: cancel.signal }));
  assert.equal(error.code, Code.Canceled);
  assert.equal(calls.length, 1);
});

test("a call that its caller cancels is not made again", async (t) => {
  const cancel = new AbortController();
  const { calls, port } = await serving(t, () => {
    cancel.abort();
    return new Promise(() => {});
  });
  const client = clientOf(IdentityService, port, policy());
  const error = await failure(client.getSession({}, { signal: cancel.signal }));
  assert.equal(error.code, Code.Canceled);
  assert.equal(calls.length, 1);
});

const BREAKS = {
  "is closed": (socket) => socket.end(),
  "is reset": (socket) => socket.resetAndDestroy(),
};
for (const [how, breaks] of Object.entries(BREAKS)) {
  test(`a connection that ${how} is UNAVAILABLE: the call is made again`, async (t) => {
    const { calls, port } = await serving(t, ({ sockets }, attempt) => {
      if (attempt > 2) return {};
      for (const socket of sockets) breaks(socket);
      return new Promise(() => {});
    });
    await clientOf(IdentityService, port, policy()).getSession({});
    assert.equal(calls.length, 3);
  });

  test(`a server whose connections each ${how} is UNAVAILABLE`, async (t) => {
    let accepted = 0;
    const server = net.createServer((socket) => {
      accepted += 1;
      breaks(socket.on("error", () => {}));
    });
    t.after(() => server.close());
    await once(server.listen(0, "127.0.0.1"), "listening");
    const client = clientOf(IdentityService, server.address().port, policy());
    assert.equal((await failure(client.getSession({}))).code, Code.Unavailable);
    assert.equal(accepted, 4);
  });
}

test("a port that nobody listens on is UNAVAILABLE", async (t) => {
  const server = net.createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address();
  await once(server.close(), "close");
  const error = await failure(clientOf(IdentityService, port, policy()).getSession({}));
  assert.equal(error.code, Code.Unavailable);
});

for (const [random, factor] of [[0, 0.8], [0.5, 1], [0.75, 1.1]]) {
  test(`waits grow up to the bound, ${factor} of them for the random number ${random}`, async (t) => {
    const { port } = await serving(t, () => unavailable());
    const waits = [];
    const real = setTimeout;
    t.mock.method(Math, "random", () => random);
    t.mock.method(globalThis, "setTimeout", (then, ms, ...rest) => {
      const ours = ms >= 50_000 && ms <= 400_000; // those of Connect are other ones
      if (ours) waits.push(Math.round(ms));
      return real(then, ours ? 0 : ms, ...rest);
    });
    const config = policy({ maxAttempts: 5, initialBackoff: "100s", maxBackoff: "300s" });
    await failure(clientOf(IdentityService, port, config).getSession({}));
    assert.deepEqual(waits, [100, 200, 300, 300].map((wait) => Math.round(1000 * wait * factor)));
  });
}

test("the published policies name every method there is, and no other", () => {
  const modules = [identity, project, storage, sync];
  const services = modules.flatMap(Object.values).filter((it) => it?.kind === "service");
  const methods = services.flatMap((it) => it.methods.map((m) => `${it.typeName}/${m.name}`));
  const named = serviceConfig.methodConfig.flatMap(({ name }) =>
    name.map(({ service, method }) => `${service}/${method}`),
  );
  assert.ok(methods.length > 100);
  assert.deepEqual(named.sort(), methods.sort());
  for (const { retryPolicy } of serviceConfig.methodConfig) {
    assert.deepEqual(retryPolicy.retryableStatusCodes, ["UNAVAILABLE"]);
  }
});
