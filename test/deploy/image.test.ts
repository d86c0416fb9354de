/** The recipe of the image. That the image itself builds, is small, runs read-only and drains, `npm run test:mesh`
 *  shows: it needs root and container tools. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { tool } from './tools.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DOCKERFILE = readFileSync(`${ROOT}deploy/Dockerfile`, 'utf8');
const PACKAGE = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as { version: string; license: string };

const instructions = readInstructions(DOCKERFILE);

describe('the Dockerfile', () => {
  it('has nothing that hadolint names, without exceptions', () => {
    expect(hadolint(DOCKERFILE)).toEqual([]);
    expect(DOCKERFILE).not.toMatch(/hadolint\s+(?:global\s+)?ignore/);
  });

  it('would be told of a base without a version', () => {
    expect(hadolint(DOCKERFILE.replace(/node:[\w.-]+ AS/, 'node AS'))).toContain('DL3006');
  });

  it('stands on one base, by its exact version', () => {
    const bases = valuesOf('FROM').filter((value) => !/^base\b/.test(value));
    expect(bases).toEqual([expect.stringMatching(/^docker\.io\/library\/node:\d+\.\d+\.\d+-[a-z]+-slim AS base$/)]);
    expect(DOCKERFILE).toContain(`image.base.name="${bases[0]?.replace(' AS base', '')}"`);
  });

  it('runs as a number that is not root, which nothing after it changes', () => {
    expect(valuesOf('USER')).toEqual(['65532:65532']);
    expect(instructions.slice(lastOf('USER')).map(({ word }) => word)).not.toContain('RUN');
  });

  it('starts without a shell, so that signals reach Node', () => {
    for (const word of ['ENTRYPOINT', 'CMD']) expect(JSON.parse(valuesOf(word).at(-1) ?? '')).toBeInstanceOf(Array);
    expect(valuesOf('STOPSIGNAL')).toEqual(['SIGTERM']);
  });

  it('leaves health to the orchestrator', () => {
    expect(valuesOf('HEALTHCHECK')).toEqual([]);
  });

  it('lets no package run a script, and ships what the lockfile says', () => {
    const runs = valuesOf('RUN').join('\n');
    expect(runs.match(/npm ci|npm prune/g)).toHaveLength(runs.match(/--ignore-scripts/g)?.length ?? 0);
    expect(runs).not.toMatch(/npm (?:i|install|update)\b/);
    expect(runs).toContain('npm sbom --sbom-format cyclonedx --omit dev');
  });

  it('is labelled with what it is', () => {
    const labels = valuesOf('LABEL').join(' ');
    for (const name of ['title', 'description', 'licenses', 'version', 'revision', 'created', 'base.name'])
      expect(labels).toContain(`org.opencontainers.image.${name}=`);
    expect(labels).toContain(`licenses="${PACKAGE.license}"`);
    expect(valuesOf('ARG')).toContain(`VERSION=${PACKAGE.version}`);
  });

  it('copies only what is there and what the ignore file lets through', () => {
    const allowed = readFileSync(`${ROOT}.dockerignore`, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = valuesOf('COPY')
      .filter((value) => !value.startsWith('--from'))
      .flatMap((value) => value.split(/\s+/).slice(0, -1));
    expect(copied.length).toBeGreaterThan(4);
    for (const path of copied) {
      expect(allowed, path).toContain(path);
      expect(existsSync(`${ROOT}${path}`), path).toBe(true);
    }
  });
});

/** Codes of what hadolint finds, of every severity. */
function hadolint(text: string): string[] {
  const { stdout, stderr } = spawnSync(tool('hadolint'), ['--format', 'json', '--no-fail', '-'], {
    input: text,
    encoding: 'utf8',
  });
  if (stderr !== '') throw new Error(stderr);
  return (JSON.parse(stdout) as { code: string }[]).map(({ code }) => code);
}

function valuesOf(word: string): string[] {
  return instructions.filter((one) => one.word === word).map(({ value }) => value);
}

function lastOf(word: string): number {
  return instructions.findLastIndex((one) => one.word === word);
}

function readInstructions(text: string): { word: string; value: string }[] {
  return text
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [word = '', ...rest] = line.trim().split(/\s+/);
      return { word: word.toUpperCase(), value: rest.join(' ') };
    });
}
