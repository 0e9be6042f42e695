/**
 * The published retry policy as an interceptor of Connect, which has no service config
 * of its own. Written by hand; protos/clients/ts.sh compiles it.
 *
 * It does what gRFC A6 says of unary calls, without throttling: a call that ends with
 * a status of its policy is made again after a wait, until it was tried `maxAttempts`
 * times or its deadline or its signal ends it. Methods without a policy, and streams,
 * are called once.
 */
import { Code, ConnectError, type Interceptor, type StreamResponse } from "@connectrpc/connect";
import { type RetryPolicy, type ServiceConfig, serviceConfig } from "./service_config.js";

export { serviceConfig };
export type { MethodConfig, RetryPolicy, ServiceConfig } from "./service_config.js";

/** gRFC A6: a wait is 80 % to 120 % of what the policy computes. */
const JITTER = 0.2;
const PUSHBACK = "grpc-retry-pushback-ms";
/** Codes of Node for a connection that is gone, which Connect reports in several ways. */
const BROKEN: ReadonlySet<unknown> = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOTFOUND",
  "EPIPE",
  "ERR_HTTP2_GOAWAY_SESSION",
  "ERR_HTTP2_INVALID_SESSION",
  "ERR_HTTP2_INVALID_STREAM",
  "ERR_HTTP2_SESSION_ERROR",
  "ERR_HTTP2_STREAM_CANCEL",
  "ERR_STREAM_DESTROYED",
  "ETIMEDOUT",
]);

/** What `retry` can be told. */
export interface RetryOptions {
  /** Other policies than the published ones. */
  serviceConfig?: ServiceConfig;
}

/**
 * Calls again what failed, as the published policy of the method says.
 *
 * A connection that broke is UNAVAILABLE, in unary calls and in streams, as it is in
 * every other gRPC client. A mutating call needs a `requestId`: without one it may be
 * done twice.
 */
export function retry(options: RetryOptions = {}): Interceptor {
  const policies = byMethod(options.serviceConfig ?? serviceConfig);
  return (next) => async (request) => {
    const { stream, service, method, signal } = request;
    const policy = stream ? undefined : policyOf(policies, service.typeName, method.name);
    for (let attempt = 1; ; attempt++) {
      if (attempt > 1) request.header.set("grpc-previous-rpc-attempts", String(attempt - 1));
      try {
        const response = await next(request);
        return response.stream ? reporting(response, signal) : response;
      } catch (reason) {
        const error = reported(reason, signal);
        const wait = policy && waitAfter(error, attempt, policy);
        if (wait === undefined || signal.aborted) throw error;
        await sleep(wait, signal);
      }
    }
  };
}

/** Milliseconds before the next try; undefined: there is none. */
function waitAfter(error: ConnectError, attempt: number, policy: RetryPolicy): number | undefined {
  const retryable = policy.retryableStatusCodes.some((name) => codeOf(name) === error.code);
  if (!retryable || attempt >= policy.maxAttempts) return undefined;
  const pushback = error.metadata.get(PUSHBACK);
  if (pushback !== null) return /^\d+$/.test(pushback) ? Number(pushback) : undefined;
  const grown = milliseconds(policy.initialBackoff) * policy.backoffMultiplier ** (attempt - 1);
  const computed = Math.min(grown, milliseconds(policy.maxBackoff));
  return computed * (1 - JITTER + 2 * JITTER * Math.random());
}

/** What the server said stays; what the connection did is UNAVAILABLE. */
function reported(reason: unknown, signal: AbortSignal): ConnectError {
  const error = ConnectError.from(reason);
  if (signal.aborted || error.metadata.has("grpc-status") || !broke(error)) return error;
  return new ConnectError(error.rawMessage, Code.Unavailable, error.metadata, undefined, error);
}

/** Whether this is the end of a connection, or of a stream that no server has begun. */
function broke(error: ConnectError): boolean {
  // A stream whose connection was closed ends like a call that somebody cancelled.
  if (error.code === Code.Canceled) return true;
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && BROKEN.has(cause.code)) return true;
    if (cause.message.includes("NGHTTP2_REFUSED_STREAM")) return true;
  }
  return false;
}

function reporting(response: StreamResponse, signal: AbortSignal): StreamResponse {
  async function* messages(): typeof response.message {
    try {
      yield* response.message;
    } catch (reason) {
      throw reported(reason, signal);
    }
  }
  return { ...response, message: messages() };
}

type Policies = ReadonlyMap<string, RetryPolicy | undefined>;

function byMethod(config: ServiceConfig): Policies {
  const policies = new Map<string, RetryPolicy | undefined>();
  for (const { name, retryPolicy } of config.methodConfig) {
    for (const { service, method = "" } of name) policies.set(`${service}/${method}`, retryPolicy);
  }
  return policies;
}

function policyOf(policies: Policies, service: string, method: string): RetryPolicy | undefined {
  const own = `${service}/${method}`;
  return policies.has(own) ? policies.get(own) : policies.get(`${service}/`);
}

/** `DEADLINE_EXCEEDED` of a service config is `Code.DeadlineExceeded` of Connect. */
function codeOf(name: string): Code | undefined {
  const words = name.toLowerCase().replace("cancelled", "canceled").split("_");
  const camel = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return Code[camel as keyof typeof Code];
}

/** A duration of JSON: `0.1s`. */
function milliseconds(duration: string): number {
  return 1000 * Number.parseFloat(duration);
}

/** Rejects as soon as the call is ended by its deadline or its caller. */
function sleep(wait: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, wait);
    signal.addEventListener("abort", stop, { once: true });
  });
}
