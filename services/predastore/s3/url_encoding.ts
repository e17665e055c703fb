/**
 * How S3 encodes keys in listings (`encoding-type=url`) and events: as HTML forms do, but for the slash, which stays.
 */
export function urlEncode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()~]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%2F", "/")
    .replaceAll("%20", "+");
}
