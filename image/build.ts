/** Builds images by name: the one module by which the rest of the project reaches this folder. */
export {
  buildGuestImage,
  type BuiltImage,
  guestImageNames,
  ImageBuildError,
} from "./guest/build.ts";
