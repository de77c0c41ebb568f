import { z } from 'zod';

export interface ServiceDescription<Shape extends z.ZodRawShape> {
  readonly name: string;
  readonly summary: string;
  /** Every variable with its default and `describe`d meaning. */
  readonly environment: z.ZodObject<Shape>;
}

/** The environment or the arguments are wrong; the message names every variable and says what it must be. */
export class WrongConfiguration extends Error {}

/** Parses the environment. Null: help was asked for and `print`ed. Throws WrongConfiguration. */
export function readConfiguration<Shape extends z.ZodRawShape>(
  service: ServiceDescription<Shape>, env: NodeJS.ProcessEnv, args: readonly string[], print: (text: string) => void,
): z.infer<z.ZodObject<Shape>> | null {
  if (args.includes('--help') || args.includes('-h')) {
    print(help(service));
    return null;
  }
  if (args.length > 0) throw new WrongConfiguration(`${service.name} takes no arguments, only environment variables; see --help`);
  const given = Object.fromEntries(Object.keys(service.environment.shape).map((name) => [name, env[name] === '' ? undefined : env[name]]));
  const parsed = service.environment.safeParse(given);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const name = String(issue.path[0] ?? 'environment');
    return `  ${name}: ${given[name] === undefined ? 'is missing' : issue.message}`;
  });
  throw new WrongConfiguration(`${service.name}: the environment is not usable\n${problems.join('\n')}\nsee --help for what each variable means`);
}

function help<Shape extends z.ZodRawShape>(service: ServiceDescription<Shape>): string {
  const schema = z.toJSONSchema(service.environment, { io: 'input', unrepresentable: 'any' }) as { properties: Record<string, { default?: unknown; description?: string }>; required?: string[] };
  const lines = Object.entries(schema.properties).map(([name, { default: preset, description }]) => {
    const state = preset !== undefined ? `default ${String(preset)}` : schema.required?.includes(name) ? 'required' : 'optional';
    return `  ${name}\n      ${description ?? ''} (${state})`;
  });
  return `${service.name}: ${service.summary}\n\nConfigured by its environment:\n${lines.join('\n')}\n  VIRTCFT_LOG\n      trace, debug, info, warn, error or silent (default info)\n`
    + '  OTEL_EXPORTER_OTLP_ENDPOINT, VIRTCFT_METRICS_PORT\n      where traces go, and where metrics are served (off by default)\n'
    + '  VIRTCFT_HEALTH_PORT, VIRTCFT_HEALTH_ADDRESS\n      where GET /live and /ready are answered (off by default; address 127.0.0.1)\n';
}
