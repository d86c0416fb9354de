/** The comparison of a number with one number, or with several for IN; bigints for whole numbers of any size. Without
 *  such an operator it always holds, so that a rule that slipped through is a risk. */
export function numericComparison<N extends number | bigint>(
  operator: string,
  values: readonly N[],
): (found: N) => boolean {
  const [wanted] = values;
  if (wanted === undefined) return () => true;
  switch (operator) {
    case 'EQUALS':
      return (found) => found === wanted;
    case 'NOT_EQUALS':
      return (found) => found !== wanted;
    case 'LESS_THAN':
      return (found) => found < wanted;
    case 'LESS_THAN_OR_EQUAL':
      return (found) => found <= wanted;
    case 'GREATER_THAN':
      return (found) => found > wanted;
    case 'GREATER_THAN_OR_EQUAL':
      return (found) => found >= wanted;
    case 'IN':
      return (found) => values.includes(found);
    default:
      return () => true;
  }
}
