import { describe, expect, it } from 'vitest';
import { createBreaker } from '../../src/state/breaker.ts';

/** `f` fails, `s` succeeds, `?` asks; a number is milliseconds that pass. Gives the answers to `?`. */
function played(script: string): string {
  const breaker = createBreaker({ failuresMax: 3, pauseMs: 1000 });
  let now = 0;
  let answers = '';
  for (const step of script.split(' ')) {
    if (step === 'f') breaker.failed(now);
    else if (step === 's') breaker.succeeded();
    else if (step === '?') answers += breaker.mayAsk(now) ? 'y' : 'n';
    else now += Number(step);
  }
  return answers;
}

describe('a breaker of three failures and one second', () => {
  it.each<[string, string, string]>([
    ['asks at first', '?', 'y'],
    ['asks after two failures', 'f f ? ?', 'yy'],
    ['leaves alone after three in a row', 'f f f ? 999 ?', 'nn'],
    ['counts in a row only', 'f f s f f ?', 'y'],
    ['lets one ask after the pause, alone', 'f f f 1000 ? ? ?', 'ynn'],
    ['pauses again when that one fails', 'f f f 1000 ? f ? 999 ? 1 ?', 'ynny'],
    ['asks freely when that one succeeds', 'f f f 1000 ? s ? ? f ?', 'yyyy'],
    ['pauses from the last failure of those that were under way', 'f f f 500 f 999 ? 1 ?', 'ny'],
    ['believes an answer that comes during the pause', 'f f f s ?', 'y'],
  ])('%s: %s', (_, script, answers) => {
    expect(played(script)).toBe(answers);
  });
});
