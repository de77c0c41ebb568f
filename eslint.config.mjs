import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

// Rules that need no type information: the compiler (strict) has judged types before, and this stays quick.
// What a library may import follows from its scope. The lab, which tests everything, may import everything.
const boundaries = (inTests) => ['error', {
  // The guests' build script is no package; a test's own guest is written by it. Tests of what stands on the bus or a store start the same server as its own.
  allow: ['/guests/[a-z]+\\.mjs$', '/scripts/steps/tally\\.mjs$', '/bus/test/nats-server\\.js$', '/object-store/test/s3-server\\.js$'],
  // Tests import their own package by its name, as its users do.
  allowCircularSelfDependency: true,
  enforceBuildableLibDependency: false,
  checkDynamicDependenciesExceptions: ['.*'],
  depConstraints: [
    { sourceTag: 'type:app', onlyDependOnLibsWithTags: ['type:lib', 'type:native', ...(inTests ? ['type:app'] : [])], ...(inTests ? {} : { notDependOnLibsWithTags: ['scope:lab'] }) },
    { sourceTag: 'type:native', onlyDependOnLibsWithTags: ['type:native', ...(inTests ? ['scope:lab'] : [])] },
    { sourceTag: 'scope:pure', onlyDependOnLibsWithTags: ['scope:pure'] },
    { sourceTag: 'scope:io', onlyDependOnLibsWithTags: ['scope:pure', 'scope:io', 'type:native', ...(inTests ? ['scope:lab'] : [])] },
    { sourceTag: 'scope:lab', onlyDependOnLibsWithTags: ['*'] },
  ],
}];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/build/**', '**/node_modules/**', '.cache/**', '.nx/**', '.artifacts/**', 'coverage/**', '**/test/fixtures/**'] },
  {
    rules: Object.fromEntries(['eqeqeq', 'no-async-promise-executor', 'no-cond-assign', 'no-dupe-else-if', 'no-duplicate-case', 'no-empty', 'no-ex-assign', 'no-fallthrough',
      'no-loss-of-precision', 'no-misleading-character-class', 'no-prototype-builtins', 'no-self-assign', 'no-self-compare', 'no-sparse-arrays', 'no-unmodified-loop-condition',
      'no-unreachable', 'no-unsafe-finally', 'no-useless-catch', 'no-useless-escape', 'no-var', 'prefer-const', 'preserve-caught-error', 'require-yield', 'use-isnan', 'valid-typeof',
    ].map((rule) => [rule, 'error'])),
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.mjs', '**/*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', Buffer: 'readonly', URL: 'readonly', setTimeout: 'readonly', clearTimeout: 'readonly' } },
    rules: { 'no-undef': 'error', 'no-unused-vars': 'error' },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strict],
    languageOptions: { parserOptions: { emitDecoratorMetadata: true, experimentalDecorators: true } },
    plugins: { '@nx': nx },
    rules: {
      '@nx/enforce-module-boundaries': boundaries(false),
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      // Nest's modules are classes without members.
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/no-dynamic-delete': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
    },
  },
  { files: ['**/test/**/*.ts', 'test/**/*.ts', '**/e2e/**/*.ts'], plugins: { '@nx': nx }, rules: { '@nx/enforce-module-boundaries': boundaries(true), '@typescript-eslint/no-non-null-assertion': 'off' } },
);
