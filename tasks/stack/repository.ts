/** Where this checkout lies. */
export const repository = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");
