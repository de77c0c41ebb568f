import { Catch, type RpcExceptionFilter, UseFilters, applyDecorators } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import type { ReportType } from '@virtcft/events';
import { throwError, type Observable } from 'rxjs';

/** A zod schema, as far as a request needs it. */
export interface BodySchema { safeParse(body: unknown): { success: true; data: unknown } | { success: false; error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } } }

/** What a handler is for; travels as the pattern's extras. */
export type Subscription =
  | { readonly kind: 'decision' }
  | { readonly kind: 'registration' }
  | { readonly kind: 'heartbeat' }
  | { readonly kind: 'report'; readonly types: readonly ReportType[] }
  | { readonly kind: 'request'; readonly service: string; readonly verb: string; readonly schema: BodySchema };

/** Nest turns unknown errors into "Internal server error"; the bus needs the error itself to settle or to answer. */
@Catch()
class PassErrors implements RpcExceptionFilter {
  catch(error: unknown): Observable<never> { return throwError(() => error); }
}

// A message pattern also for events: Nest awaits its result, and settlement needs the result.
const on = (pattern: string, subscription: Subscription): MethodDecorator => applyDecorators(MessagePattern(pattern, { subscription }), UseFilters(new PassErrors()));

/** The method gets each StoredDecision, in order. */
export const OnDecision = (): MethodDecorator => on('decision', { kind: 'decision' });

/** The method gets each StoredReport of these types; of all types when none is given. */
export const OnReport = (...types: ReportType[]): MethodDecorator => on(`report ${[...types].sort().join(' ')}`, { kind: 'report', types });

/** The method gets each RegisteredHost: the newest of every host, then live. */
export const OnRegistration = (): MethodDecorator => on('registration', { kind: 'registration' });

/** The method gets each Heartbeat as it comes. It must not take long. */
export const OnHeartbeat = (): MethodDecorator => on('heartbeat', { kind: 'heartbeat' });

/** The method gets the body as the schema parsed it and returns the reply. An ApiError that it throws reaches the caller. */
export const OnRequest = (service: string, verb: string, schema: BodySchema): MethodDecorator => on(`request ${service} ${verb}`, { kind: 'request', service, verb, schema });
