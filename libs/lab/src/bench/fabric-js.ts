// Runs inside a machine of the lab: what a switch costs when JavaScript moves each frame. Its two arguments are the TAPs' open descriptors.
import { read, write } from 'node:fs';

const MOST_BYTES = 9_018;

/** Two ports: what comes from one goes to the other, as in a switch that has learned both. */
function forward(from: number, to: number): void {
  const frame = Buffer.alloc(MOST_BYTES);
  const next = (): void => {
    read(from, frame, 0, MOST_BYTES, null, (error, bytes) => {
      if (error) throw error;
      write(to, frame, 0, bytes, null, next); // a frame that the interface refuses is lost, as on a cable
    });
  };
  next();
}

const [one = '', two = ''] = process.argv.slice(2);
forward(Number(one), Number(two));
forward(Number(two), Number(one));
