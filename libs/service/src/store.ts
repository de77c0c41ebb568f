import { z } from 'zod';

/** What a service needs to reach the object store; spread it into the service's own environment. */
export const storeEnvironment = {
  VIRTCFT_STORE: z.string().min(1).describe('the object store: file:///path or s3+http(s)://host:port/bucket'),
  VIRTCFT_STORE_KEYS_FILE: z.string().min(1).optional().describe('a file, readable by this service alone, with the keys that objects are sealed with; "virtcft secrets" makes one. Without it objects are not encrypted'),
  VIRTCFT_STORE_PLAIN: z.enum(['refuse', 'accept']).default('refuse').describe('with keys: whether objects that are not sealed are read, too; accept only while some are older than the keys'),
} as const;
