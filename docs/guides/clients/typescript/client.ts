/** How this program reaches the server and the object store. */
import { readFileSync } from "node:fs";
import { request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { retry } from "@workspace-management/client";
import type { Transfer } from "@workspace-management/client/storage/v1";

const CALL_MS = 10_000;

/** One connection to the server; TLS with the given CA, without one plain text. */
export class Server {
  readonly #connection: Http2SessionManager;
  readonly #baseUrl: string;

  constructor(server: string, ca: Buffer | undefined) {
    this.#baseUrl = `${ca === undefined ? "http" : "https"}://${server}`;
    this.#connection = new Http2SessionManager(this.#baseUrl, {}, { ca });
  }

  /** Clients of a service, as the person whose bearer token this is. */
  person(token: string): <S extends DescService>(service: S) => Client<S> {
    const authorize: Interceptor = (next) => (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    };
    const transport = createGrpcTransport({
      baseUrl: this.#baseUrl,
      defaultTimeoutMs: CALL_MS,
      interceptors: [authorize, retry()],
      sessionManager: this.#connection,
    });
    return (service) => createClient(service, transport);
  }

  close(): void {
    this.#connection.abort();
  }
}

/** PEM of a file; nothing for no file. */
export function readCa(path: string): Buffer | undefined {
  return path === "" ? undefined : readFileSync(path);
}

/** Does what a Transfer says, directly with the object store; the bytes it answers. */
export function transferred(
  transfer: Transfer,
  ca: Buffer | undefined,
  data?: Buffer,
): Promise<Buffer> {
  const { method, headers, url } = transfer;
  const options = { method, headers, ca, signal: AbortSignal.timeout(CALL_MS) };
  return new Promise((resolve, reject) => {
    const sent = (url.startsWith("https:") ? tlsRequest : plainRequest)(url, options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", reject);
      answer.on("end", () => {
        const status = answer.statusCode ?? 0;
        if (status >= 200 && status < 300) resolve(Buffer.concat(chunks));
        else reject(new Error(`the object store answered ${status}`));
      });
    });
    sent.on("error", reject).end(data);
  });
}
