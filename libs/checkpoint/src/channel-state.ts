import { FormatError } from './format-error.js';
import { limits } from './limits.js';

/** A frame that was in flight at the cut, for the NIC with this MAC (R6). */
export interface ChannelFrame {
  readonly nic: string;
  readonly frame: Buffer;
}

/** Six bytes of MAC, two of length, little-endian, and the frame; one after the other, in the order of delivery. */
const headBytes = 8;

export function encodeChannelState(frames: readonly ChannelFrame[]): Buffer {
  if (frames.length > limits.channelFrames) throw new FormatError('channel state', `${frames.length} frames, at most ${limits.channelFrames} are allowed`);
  return Buffer.concat(frames.flatMap(({ nic, frame }) => {
    if (frame.length < limits.frameBytesMin || frame.length > limits.frameBytesMax) throw new FormatError('channel state', `a frame of ${frame.length} bytes`);
    if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(nic)) throw new FormatError('channel state', `"${nic}" is no MAC`);
    const head = Buffer.from(`${nic.replaceAll(':', '')}0000`, 'hex');
    head.writeUInt16LE(frame.length, 6);
    return [head, frame];
  }));
}

/** Frames are views into `bytes`. */
export function decodeChannelState(bytes: Buffer, count: number): ChannelFrame[] {
  const frames: ChannelFrame[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (frames.length === count) throw new FormatError('channel state', `more than the ${count} frames it should have`);
    if (bytes.length - at < headBytes) throw new FormatError('channel state', `cut short in frame ${frames.length}`);
    const nic = bytes.toString('hex', at, at + 6).replace(/..(?=.)/g, '$&:');
    const end = at + headBytes + bytes.readUInt16LE(at + 6);
    if (end > bytes.length || end - at - headBytes < limits.frameBytesMin) throw new FormatError('channel state', `frame ${frames.length} has a bad length`);
    frames.push({ nic, frame: bytes.subarray(at + headBytes, end) });
    at = end;
  }
  if (frames.length !== count) throw new FormatError('channel state', `${frames.length} frames, ${count} are expected`);
  return frames;
}
