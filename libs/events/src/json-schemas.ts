import { z } from 'zod';
import { ClusterSpec } from './cluster-spec.js';
import { decisionSchemas } from './decisions.js';
import { Heartbeat, HostRegistered, reportSchemas } from './reports.js';

const base = 'urn:virtcft:v1:';

/**
 * Every published schema as JSON Schema 2020-12, by the path of its file below docs/. Consumers read them; a change of one is a change
 * of the contract. Rules across fields (each VM once, placed on a host that is listed) are beyond JSON Schema and checked by `apply`.
 */
export function jsonSchemas(): Record<string, Record<string, unknown>> {
  const schemas: Record<string, Record<string, unknown>> = {};
  const add = (path: string, title: string, schema: z.ZodType, io: 'input' | 'output'): void => {
    const { $schema, ...rest } = z.toJSONSchema(schema, { io });
    schemas[path] = { $schema, $id: `${base}${path}`, title, ...rest };
  };
  add('cluster.schema.json', 'A cluster file: virtcft apply -f cluster.yaml', ClusterSpec, 'input');
  for (const [type, schema] of Object.entries(decisionSchemas)) add(`events/decisions/${type}.schema.json`, `Decision ${type}`, schema, 'output');
  for (const [type, schema] of Object.entries(reportSchemas)) add(`events/reports/${type}.schema.json`, `Report ${type}`, schema, 'output');
  add('events/host.registered.schema.json', 'A host offers itself', HostRegistered, 'output');
  add('events/host.heartbeat.schema.json', 'Heartbeat of a host, plain NATS, not stored', Heartbeat, 'output');
  return schemas;
}
