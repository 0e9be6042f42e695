/**
 * The published retry policy as an interceptor of Connect, which has no service config
 * of its own. Written by hand; protos/clients/ts.sh compiles it.
 *
 * It does what gRFC A6 says of unary calls, without throttling: a call that ends with
 * a status of its policy is made again after a wait, until it was tried `maxAttempts`
 * times or its deadline or its signal ends it. Methods without a policy, and streams,
 * are called once.
 */
import { type Interceptor } from "@connectrpc/connect";
import { type ServiceConfig, serviceConfig } from "./service_config.js";
export { serviceConfig };
export type { MethodConfig, RetryPolicy, ServiceConfig } from "./service_config.js";
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
export declare function retry(options?: RetryOptions): Interceptor;
