/** Builds images by name: the one module by which the rest of the project reaches this folder. */
export { buildGuestImage, type BuiltImage, guestImageNames } from "./guest/build.ts";
export { ImageBuildError } from "./mkosi/run.ts";
