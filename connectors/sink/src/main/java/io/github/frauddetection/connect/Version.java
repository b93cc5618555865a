package io.github.frauddetection.connect;

import java.util.Objects;

/** The version that Connect shows, from the manifest of our jar. */
final class Version {
  static final String VALUE =
      Objects.requireNonNullElse(
          Version.class.getPackage().getImplementationVersion(), "unpackaged");

  private Version() {}
}
