import { z } from 'zod';
import { ChainReport, CommitReport, DeltaReport, FabricReport, FlipReport, IdleReport, NbdReport, OverheadReport, PauseReport, RecoveryReport, SealReport, SeedReport, SoakReport, StoreFaultsReport, WeatherReport } from './bench-reports.js';
import { DemoReport } from './demo-report.js';
import { XenLabReport } from './xen-lab-report.js';

/** Every report by where it is written below `.artifacts/`, without `.json`. */
export const reportSchemas = {
  'demo/report': DemoReport,
  'xen/report': XenLabReport,
  'bench/pause': PauseReport,
  'bench/recovery': RecoveryReport,
  'bench/overhead': OverheadReport,
  'bench/idle': IdleReport,
  'bench/soak': SoakReport,
  'bench/fabric': FabricReport,
  'bench/nbd': NbdReport,
  'bench/delta': DeltaReport,
  'bench/chain': ChainReport,
  'bench/flip': FlipReport,
  'bench/seal': SealReport,
  'bench/weather': WeatherReport,
  'bench/store-faults': StoreFaultsReport,
  'bench/commit': CommitReport,
  'bench/seed': SeedReport,
} as const;
export type ReportName = keyof typeof reportSchemas;
export type ReportOf<N extends ReportName> = z.infer<(typeof reportSchemas)[N]>;

/** The published JSON Schemas: file name below `docs/reports/` and content. */
export function publishedSchemas(): { file: string; content: string }[] {
  return Object.entries(reportSchemas).map(([name, schema]) => ({
    file: `${name.replace('demo/report', 'demo').replace('xen/report', 'xen-lab').replace('bench/', '')}.schema.json`,
    content: `${JSON.stringify(z.toJSONSchema(schema, { target: 'draft-2020-12' }), null, 2)}\n`,
  }));
}
