import { MOST_FRAME_BYTES, MOST_OUTPUT_BYTES } from './limits.js';

/** What a program in dom0 said, and how it ended. */
export interface Answer { readonly code: number; readonly out: Buffer; readonly err: string }

const HEADER_BYTES = 5;
export const [OUTPUT, ERRORS, EXIT] = [0x6f, 0x65, 0x78]; // o, e, x

/** Reads the agent's frames, which come in pieces: kind, length, bytes. `push` throws RangeError at what no agent says. */
export class FrameReader {
  private rest: Buffer = Buffer.alloc(0);

  constructor(private readonly frame: (kind: number, content: Buffer) => void) {}

  push(piece: Buffer): void {
    this.rest = this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece]);
    while (this.rest.length >= HEADER_BYTES) {
      const length = this.rest.readUInt32BE(1);
      if (length > MOST_FRAME_BYTES) throw new RangeError(`a frame of ${length} bytes from dom0: at most ${MOST_FRAME_BYTES}`);
      if (this.rest.length < HEADER_BYTES + length) return;
      this.frame(this.rest.readUInt8(0), this.rest.subarray(HEADER_BYTES, HEADER_BYTES + length));
      this.rest = this.rest.subarray(HEADER_BYTES + length);
    }
  }
}

/** Reads the agent's whole answer. `push` throws RangeError at what no agent says. */
export class AnswerReader {
  private readonly frames = new FrameReader((kind, content) => { this.frame(kind, content); });
  private readonly out: Buffer[] = [];
  private readonly err: Buffer[] = [];
  private said_bytes = 0;
  private code: number | null = null;

  push(piece: Buffer): void { this.frames.push(piece); }

  private frame(kind: number, content: Buffer): void {
    if (this.code !== null) throw new RangeError('a frame from dom0 after the exit code');
    this.said_bytes += content.length;
    if (this.said_bytes > MOST_OUTPUT_BYTES) throw new RangeError(`a program in dom0 said more than ${MOST_OUTPUT_BYTES} bytes: let it write into a file`);
    if (kind === OUTPUT) this.out.push(content);
    else if (kind === ERRORS) this.err.push(content);
    else if (kind === EXIT && /^-?\d{1,4}$/.test(content.toString('latin1'))) this.code = Number(content.toString('latin1'));
    else throw new RangeError(`a frame from dom0 of unknown kind ${kind}`);
  }

  /** The whole answer, or null while the exit code has not come. */
  answer(): Answer | null {
    return this.code === null ? null : { code: this.code, out: Buffer.concat(this.out), err: Buffer.concat(this.err).toString('utf8') };
  }
}
