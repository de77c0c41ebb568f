// Unit and integration tests run from source: swc strips the types, every @virtcft package maps to its src.
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/{libs,apps}/*/test/**/*.spec.ts', '<rootDir>/native/test/**/*.spec.ts', '<rootDir>/test/**/*.spec.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^@virtcft/native$': '<rootDir>/native/index.js',
    '^@virtcft/(coordinator|replica-store|failover|host-agent|drill|cli)$': '<rootDir>/apps/$1/src/index.ts',
    '^@virtcft/(.*)$': '<rootDir>/libs/$1/src/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: {
    '^.+\\.ts$': ['@swc/jest', {
      jsc: { target: 'es2023', parser: { syntax: 'typescript', decorators: true }, transform: { legacyDecorator: true, decoratorMetadata: true } },
      module: { type: 'es6' },
    }],
  },
  // A test is no stop-watch: this only ends one that hangs.
  testTimeout: 600_000,
  watchman: false,
};
