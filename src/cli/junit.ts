import type { CaseResult } from '../cases/run.ts';
import type { Position } from '../model/fault.ts';

/** Results as JUnit's XML, which CI systems read: a suite for each file, a case for each case.
 *  @param seconds Of all cases together. */
export function junitText(
  results: readonly CaseResult[],
  locate: (result: CaseResult) => Position,
  seconds: number,
): string {
  const files = byFile(results);
  const failed = results.filter(({ differences }) => differences.length > 0).length;
  const suites = [...files].map(([file, ofFile]) => {
    const failures = ofFile.filter(({ differences }) => differences.length > 0).length;
    return [
      `  <testsuite name="${attribute(file)}" tests="${ofFile.length}" failures="${failures}" errors="0">`,
      ...ofFile.map((result) => testCase(result, locate(result).line)),
      '  </testsuite>',
    ].join('\n');
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="postern test" tests="${results.length}" failures="${failed}" errors="0" time="${seconds.toFixed(3)}">`,
    ...suites,
    '</testsuites>',
    '',
  ].join('\n');
}

function byFile(results: readonly CaseResult[]): Map<string, CaseResult[]> {
  const files = new Map<string, CaseResult[]>();
  for (const result of results) {
    const { file } = result.case.place;
    const ofFile = files.get(file);
    if (ofFile) ofFile.push(result);
    else files.set(file, [result]);
  }
  return files;
}

function testCase({ case: one, differences, decision }: CaseResult, line: number): string {
  const { file } = one.place;
  const head = `    <testcase classname="${attribute(file)}" name="${attribute(one.name)}" file="${attribute(file)}" line="${line}"`;
  if (differences.length === 0) return `${head}/>`;
  const told = differences.map(({ key, expected, found }) => `${key}: expected ${expected}, found ${found}`);
  return [
    `${head}>`,
    `      <failure message="${attribute(told.join('; '))}">${content(`${told.join('\n')}\n${decision.reason} ${decision.why}`)}</failure>`,
    '    </testcase>',
  ].join('\n');
}

function attribute(text: string): string {
  return content(text).replaceAll('"', '&quot;').replaceAll('\n', '&#10;');
}

/** What XML 1.0 cannot hold at all is replaced. */
function content(text: string): string {
  return text
    .replaceAll(/[\u0000-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]/g, '\uFFFD')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}
