import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Generation, type Decision } from '@virtcft/events';
import { z } from 'zod';

const Seen = z.object({ cluster: z.uuid(), generation: Generation });
type Seen = z.infer<typeof Seen>;

/** The highest generation that any life of this host saw: told at registration, so that a log made anew begins above it (R16). As long-lived as what could still run of it: the run folder. */
export class SeenGeneration {
  private readonly path: string;
  private known: Seen | null;

  constructor(runDir: string) {
    this.path = join(runDir, 'generation.json');
    this.known = this.read();
  }

  get highest(): Seen | null { return this.known; }

  /** Before anything of a new generation is done here. One cluster is served at a time; of another the number begins anew. */
  note(cluster: string, decision: Decision): void {
    if (decision.type !== 'cluster.started' && decision.type !== 'generation.raising' && decision.type !== 'generation.raised') return;
    const { generation } = decision.data;
    if (this.known?.cluster === cluster && this.known.generation >= generation) return;
    this.known = { cluster, generation };
    writeFileSync(`${this.path}.new`, JSON.stringify(this.known), { mode: 0o600 });
    renameSync(`${this.path}.new`, this.path);
  }

  /** A file that is not there or cannot be read says nothing. */
  private read(): Seen | null {
    try {
      return Seen.parse(JSON.parse(readFileSync(this.path, 'utf8')));
    } catch {
      return null;
    }
  }
}
