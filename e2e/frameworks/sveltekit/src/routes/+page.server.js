export function load() {
  return { text: "Public" };
}
