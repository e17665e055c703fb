/** How S3 encodes keys: in listings (`encoding-type=url`) every byte but the unreserved ones and the slash. */
export function urlEncode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%2F", "/");
}

/** In events it is as HTML forms do. */
export const formEncode = (text: string): string => urlEncode(text).replaceAll("%20", "+");
